import type { IncomingMessage } from 'node:http';
import { PassThrough, type Readable } from 'node:stream';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { BlobStore } from '@antiphon/shared/storage/blob-store';
import { ClientLeft } from '../replies/client-connection.ts';
import { MAX_PARTS, multipartFault, openForm, parseForm } from './multipart-form.ts';
import { requestTooLarge } from './request-body.ts';

const MAX_NAME_LENGTH = 200;
/** Of a file, as file systems have it. */
const MAX_FILE_NAME_LENGTH = 255;
export interface StoredFile {
  blobId: string;
  sizeBytes: number;
}

/** What a form has: nothing of it is looked at yet. */
export interface UploadForm<Stored extends StoredFile> {
  file: Stored | undefined;
  /** As the client wrote it: a name or a path. */
  fileName: string | undefined;
  /** By name without `[]`; several of one name in order. */
  fields: Map<string, string[]>;
}

export interface UploadFormOptions<Stored extends StoredFile, Checked> {
  /** Where `store` puts the file. */
  blobs: BlobStore;
  /** Of the file. */
  maxBytes: number;
  /**
   * Between two pieces of the form, however long all of it takes; without it all of it has
   * `BODY_TIMEOUT_MS`.
   */
  idleMs?: number;
  /** Takes the file as it comes. */
  store(file: Readable): Promise<Stored>;
  /** May throw: then nothing stays in the store. */
  check(form: UploadForm<Stored>): Checked;
}

/**
 * Reads a multipart form: its one `file` is stored as it comes, never whole in memory; its MIME
 * type is not looked at. Throws `unsupported_content_type`, `invalid_multipart`,
 * `request_too_large`, `request_timeout`, ClientLeft, or what `check` throws; then nothing stays in the store.
 */
export async function readUploadForm<Stored extends StoredFile, Checked>(
  incoming: IncomingMessage,
  options: UploadFormOptions<Stored, Checked>,
): Promise<Checked> {
  const { maxBytes, idleMs } = options;
  const form = openForm(incoming, maxBytes);
  const parts = new FormParts(options);
  form.on('field', (name, value, _nameTruncated, valueTruncated) => {
    // Busboy holds only url-encoded forms to a length of names.
    parts.addField({ name, value, truncated: name.length > MAX_NAME_LENGTH || valueTruncated });
  });
  form.on('file', (name, file, fileName) => {
    if (isHostile(fileName)) parts.fail(multipartFault('the name of the file cannot be one'));
    parts.addFile({ name, file, fileName });
  });
  for (const limit of ['partsLimit', 'filesLimit', 'fieldsLimit'] as const) {
    form.on(limit, () => parts.fail(multipartFault(`more than ${MAX_PARTS} parts`)));
  }
  const readBytes = await parseForm(incoming, form, { maxBytes, idleMs }).catch((error: Error) => {
    parts.abandon(error);
    return 0;
  });
  return parts.finish(() => requestTooLarge(maxBytes, readBytes));
}

/** Throws `missing_required_parameter`, or `invalid_value` for an empty one. */
export function requireFile<Stored extends { sizeBytes: number }>(
  file: Stored | undefined,
): Stored {
  if (!file) {
    throw new VoiceError('missing_required_parameter', {
      param: 'file',
      message: "Missing required parameter: 'file'.",
    });
  }
  if (file.sizeBytes === 0) {
    throw new VoiceError('invalid_value', {
      param: 'file',
      message: "Invalid 'file': it is empty.",
    });
  }
  return file;
}

/** A path is none of our business (Go's clients send whole ones), a way out of a folder is no name. */
function isHostile(fileName: string | undefined): boolean {
  if (fileName === undefined) return false;
  // oxlint-disable-next-line no-control-regex -- those are what is looked for
  const isOdd = /[\0-\x1F\x7F]|(?:^|[/\\])\.\.(?:[/\\]|$)/.test(fileName);
  return isOdd || fileName.length > MAX_FILE_NAME_LENGTH;
}

/** What a form has given so far, and the first thing wrong with it. */
class FormParts<Stored extends StoredFile, Checked> {
  readonly #options: UploadFormOptions<Stored, Checked>;
  readonly #fields = new Map<string, string[]>();
  #file: (Readable & { truncated?: boolean }) | undefined;
  #fileName: string | undefined;
  #stored: Promise<Stored> | undefined;
  #fault: Error | undefined;

  constructor(options: UploadFormOptions<Stored, Checked>) {
    this.#options = options;
  }

  fail(error: Error): void {
    this.#fault ??= error;
  }

  addField({ name, value, truncated }: { name: string; value: string; truncated: boolean }): void {
    if (truncated) this.fail(multipartFault(`field '${name.slice(0, 50)}' is too long`));
    const key = name.replace(/\[\]$/, '');
    this.#fields.set(key, [...(this.#fields.get(key) ?? []), value]);
  }

  addFile({ name, file, fileName }: { name: string; file: Readable; fileName: string }): void {
    if (name === 'file' && !this.#file) {
      this.#file = file;
      this.#fileName = fileName;
      const content = new PassThrough();
      file.on('error', (error) => {
        this.fail(broken(error));
        content.destroy(error);
      });
      this.#stored = this.#options.store(file.pipe(content));
      // Awaited in `finish`. The form is read on: its sender hears why only at its end.
      this.#stored.catch(() => file.unpipe(content).resume());
      return;
    }
    const what =
      name === 'file'
        ? "there is more than one 'file'"
        : `unknown file field '${name.slice(0, 50)}'; the audio's field is 'file'`;
    this.fail(multipartFault(what));
    file.on('error', () => undefined); // the form tells
    file.resume();
  }

  /** The form breaks off: so does the file, or nobody would ever end it. */
  abandon(error: Error): void {
    this.fail(error instanceof VoiceError || error instanceof ClientLeft ? error : broken(error));
    this.#file?.destroy(error);
  }

  /** What `check` makes of it. Nothing stays in the store when it throws. */
  async finish(tooLarge: () => VoiceError): Promise<Checked> {
    const file = await this.#stored?.catch((error: Error) => this.fail(error));
    if (this.#file?.truncated) this.fail(tooLarge());
    try {
      if (this.#fault) throw this.#fault;
      const form = { fileName: this.#fileName, fields: this.#fields };
      return this.#options.check({ file: file ?? undefined, ...form });
    } catch (error) {
      if (file) await this.#options.blobs.delete(file.blobId);
      throw error;
    }
  }
}

const broken = (cause: unknown): VoiceError =>
  multipartFault('it ends early or is malformed', cause);
