import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import type { BlobStore } from '@antiphon/shared/storage/blob-store';

/** A file that a batch ends with, written line by line; there is none while it has no line. */
export class LineFile {
  readonly #blobs: BlobStore;
  readonly #fileId: string;
  #stream: PassThrough | undefined;
  #stored: Promise<{ sizeBytes: number }> | undefined;

  constructor(blobs: BlobStore, fileId: string) {
    this.#blobs = blobs;
    this.#fileId = fileId;
  }

  /** Resolves when there is room for the next one. */
  async write(text: string): Promise<void> {
    if (!this.#stream) {
      this.#stream = new PassThrough();
      this.#stored = this.#blobs.put(this.#stream, this.#fileId);
      this.#stored.catch(() => undefined); // `end` tells
    }
    if (this.#stream.write(text)) return;
    await Promise.race([once(this.#stream, 'drain'), this.#stored]);
  }

  /** Its id and size; undefined when it has no line. */
  async end(): Promise<{ fileId: string; sizeBytes: number } | undefined> {
    this.#stream?.end();
    const stored = await this.#stored;
    return stored && { fileId: this.#fileId, sizeBytes: stored.sizeBytes };
  }

  /** Nothing of it stays. */
  abandon(): void {
    this.#stream?.destroy(new Error('the file is not wanted any more'));
  }
}
