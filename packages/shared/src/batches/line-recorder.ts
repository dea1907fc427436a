import { Readable } from 'node:stream';
import { VoiceError } from '../errors/voice-error.ts';
import type { FileIndex } from '../files/file-index.ts';
import { blobIdOf } from '../files/file-record.ts';
import type { BatchLineJob } from '../jobs/batch-line-job.ts';
import type { BlobStore } from '../storage/blob-store.ts';
import { lineResultBlobId } from './batch-key.ts';
import type { BatchStore, LineOutcome } from './batch-store.ts';
import type { LineResult } from './line-result.ts';

/** Redis holds the results of all lines until the batch ends. */
const MAX_RESULT_BYTES = 16_384;

type Line = Pick<BatchLineJob, 'batchId' | 'line'>;

/** Where a line's one result goes. Rejects as BatchStore does, and as the blob store does. */
export class LineRecorder {
  readonly #batches: BatchStore;
  readonly #files: FileIndex;
  readonly #fileBlobs: BlobStore;

  constructor({
    batches,
    files,
    fileBlobs,
  }: {
    batches: BatchStore;
    files: FileIndex;
    fileBlobs: BlobStore;
  }) {
    this.#batches = batches;
    this.#files = files;
    this.#fileBlobs = fileBlobs;
  }

  /** 'dropped': the line has a result already, or the batch takes no more. */
  async record(line: Line, outcome: LineOutcome): Promise<'done' | 'failed' | 'dropped'> {
    const { result, answer } = await this.#store(line, outcome).catch(async (error: unknown) => {
      // A store that is full has taken nothing, and the line comes again every few seconds.
      if (VoiceError.from(error).code === 'storage_full') await this.#discardFile(outcome);
      throw error;
    });
    if (answer !== 'recorded') {
      await this.#discardFile(outcome);
      await this.#discardResult(line, result);
      return 'dropped';
    }
    return result.type === 'error' ? 'failed' : 'done';
  }

  async recordError(line: Line, error: VoiceError): Promise<'done' | 'failed' | 'dropped'> {
    return this.record(line, { result: { type: 'error', error: error.serialize() } });
  }

  /** Data of an unknown shape: its batch, if it names one, must not wait for it. */
  async refuse(data: unknown): Promise<void> {
    const { batchId, line } = Object(data) as { batchId?: unknown; line?: unknown };
    if (typeof batchId !== 'string' || typeof line !== 'number') return;
    await this.recordError({ batchId, line }, new VoiceError('internal_error'));
  }

  async #store(line: Line, outcome: LineOutcome) {
    const result = await this.#shorten(line, outcome.result);
    return {
      result,
      answer: await this.#batches.record(line.batchId, line.line, { ...outcome, result }),
    };
  }

  async #shorten({ batchId, line }: Line, result: LineResult): Promise<LineResult> {
    const body = Buffer.from(JSON.stringify(result));
    if (body.byteLength <= MAX_RESULT_BYTES) return result;
    const blobId = lineResultBlobId(batchId, line);
    await this.#fileBlobs.put(Readable.from([body]), blobId);
    return { type: 'stored', blobId };
  }

  /** Every run has a blob of its own; this one's may have been recorded by a command whose reply was lost. */
  async #discardFile({ file }: LineOutcome): Promise<void> {
    if (!file) return;
    const blobId = blobIdOf(file);
    if (!(await this.#files.hasBlob(blobId))) await this.#fileBlobs.delete(blobId);
  }

  /** Its blob has the line's name: an earlier run, whose result was taken, may need the same. */
  async #discardResult({ batchId, line }: Line, result: LineResult): Promise<void> {
    if (result.type !== 'stored') return;
    const [taken] = await this.#batches.results(batchId, [line]);
    if (taken?.type !== 'stored') await this.#fileBlobs.delete(result.blobId);
  }
}
