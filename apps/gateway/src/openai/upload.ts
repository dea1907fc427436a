import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { Transform, type Readable } from 'node:stream';
import { Busboy, type BusboyHeaders } from '@fastify/busboy';
import { UPLOAD_MAGIC_BYTES, detectUploadFormat } from '@antiphon/shared/audio/upload-format';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { UploadFormat } from '@antiphon/shared/services/stt-service';
import type { BlobStore } from '@antiphon/shared/storage/blob-store';
import { ClientLeft } from '../replies/client-connection.ts';
import {
  DRAIN_FACTOR,
  refuseEncoded,
  requestTooLarge,
  unsupportedContentType,
} from './request-body.ts';

export interface Upload {
  blobId: string;
  sizeBytes: number;
  /** Of the file's bytes, as hex. */
  sha256: string;
  format: UploadFormat;
  /** By name without `[]`; several of one name in order. */
  fields: Map<string, string[]>;
}

/**
 * OpenAI's whole form has 22 without its lists of `languages[]` and `keywords[]`, which are as long
 * as their sender likes.
 */
const MAX_PARTS = 40;
const MAX_FIELD_BYTES = 65_536;
const MAX_NAME_LENGTH = 200;
/** Of a file, as file systems have it. */
const MAX_FILE_NAME_LENGTH = 255;
/** Part headers and fields around the file. */
const FORM_OVERHEAD_BYTES = 65_536;

interface StoredFile {
  blobId: string;
  sha256: string;
  sizeBytes: number;
  format: UploadFormat | undefined;
}

/**
 * Reads a multipart form: its one `file` goes to the blob store as it comes, never whole into
 * memory; its name is used for nothing, its MIME type not looked at. Throws `unsupported_content_type`,
 * `invalid_multipart`, `missing_required_parameter`, `request_too_large`, `invalid_file_format`,
 * or ClientLeft; then nothing stays in the store.
 */
export async function readUpload(
  incoming: IncomingMessage,
  blobs: BlobStore,
  maxBytes: number,
): Promise<Upload> {
  const form = openForm(incoming, maxBytes);
  const parts = new FormParts(blobs);
  form.on('field', (name, value, _nameTruncated, valueTruncated) => {
    // Busboy holds only url-encoded forms to a length of names.
    parts.addField({ name, value, truncated: name.length > MAX_NAME_LENGTH || valueTruncated });
  });
  form.on('file', (name, file, fileName) => {
    if (isHostile(fileName)) parts.fail(multipartFault('the name of the file cannot be one'));
    parts.addFile(name, file);
  });
  for (const limit of ['partsLimit', 'filesLimit', 'fieldsLimit'] as const) {
    form.on(limit, () => parts.fail(multipartFault(`more than ${MAX_PARTS} parts`)));
  }
  const readBytes = await parseForm(incoming, form, maxBytes).catch((error: Error) => {
    parts.abandon(error);
    return 0;
  });
  return parts.finish(() => requestTooLarge(maxBytes, readBytes));
}

/** A path is none of our business (Go's clients send whole ones), a way out of a folder is no name. */
function isHostile(fileName: string | undefined): boolean {
  if (fileName === undefined) return false;
  // oxlint-disable-next-line no-control-regex -- those are what is looked for
  const isOdd = /[\0-\x1F\x7F]|(?:^|[/\\])\.\.(?:[/\\]|$)/.test(fileName);
  return isOdd || fileName.length > MAX_FILE_NAME_LENGTH;
}

/** What a form has given so far, and the first thing wrong with it. */
class FormParts {
  readonly #blobs: BlobStore;
  readonly #fields = new Map<string, string[]>();
  #file: (Readable & { truncated?: boolean }) | undefined;
  #stored: Promise<StoredFile> | undefined;
  #fault: Error | undefined;

  constructor(blobs: BlobStore) {
    this.#blobs = blobs;
  }

  fail(error: Error): void {
    this.#fault ??= error;
  }

  addField({ name, value, truncated }: { name: string; value: string; truncated: boolean }): void {
    if (truncated) this.fail(multipartFault(`field '${name.slice(0, 50)}' is too long`));
    const key = name.replace(/\[\]$/, '');
    this.#fields.set(key, [...(this.#fields.get(key) ?? []), value]);
  }

  addFile(name: string, file: Readable): void {
    if (name === 'file' && !this.#file) {
      this.#file = file;
      this.#stored = storeFile(file, this.#blobs);
      this.#stored.catch(() => undefined); // awaited in `finish`
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

  /** The one file and all fields. Nothing stays in the store when it throws. */
  async finish(tooLarge: () => VoiceError): Promise<Upload> {
    const stored = await this.#stored?.catch((error: unknown) => this.fail(broken(error)));
    if (this.#file?.truncated) this.fail(tooLarge());
    try {
      if (this.#fault) throw this.#fault;
      return { ...checkFile(stored ?? undefined), fields: this.#fields };
    } catch (error) {
      if (stored) await this.#blobs.delete(stored.blobId);
      throw error;
    }
  }
}

function openForm(incoming: IncomingMessage, maxBytes: number) {
  const contentType = incoming.headers['content-type'] ?? '';
  if (!/^multipart\/form-data\b/i.test(contentType)) {
    throw unsupportedContentType(contentType, "'multipart/form-data'");
  }
  refuseEncoded(incoming);
  try {
    return new Busboy({
      headers: incoming.headers as BusboyHeaders,
      preservePath: true, // to see what `isHostile` is for
      limits: {
        fileSize: maxBytes,
        files: 2, // the second one is refused by name
        parts: MAX_PARTS,
        fields: MAX_PARTS,
        fieldSize: MAX_FIELD_BYTES,
        headerPairs: 50,
      },
    });
  } catch (cause) {
    throw multipartFault('its Content-Type has no boundary', cause);
  }
}

/**
 * Resolves with the number of bytes read when the form has ended. A refused one is read on, so
 * that its sender hears why, up to `DRAIN_FACTOR` times the limit.
 */
function parseForm(
  incoming: IncomingMessage,
  form: ReturnType<typeof openForm>,
  maxBytes: number,
): Promise<number> {
  return new Promise((resolve, reject) => {
    let readBytes = 0;
    const count = (part: Buffer) => {
      readBytes += part.length;
      if (readBytes <= maxBytes * DRAIN_FACTOR + FORM_OVERHEAD_BYTES) return;
      incoming.off('data', count).unpipe(form).pause();
      reject(requestTooLarge(maxBytes, readBytes));
    };
    incoming.on('data', count);
    // The form is over before the request is: what is left unread would cost the connection.
    const afterBody = (settle: () => void) => {
      incoming.unpipe(form);
      if (incoming.readableEnded) return settle();
      incoming.once('end', settle);
      incoming.resume();
    };
    form.on('finish', () => afterBody(() => resolve(readBytes)));
    form.on('error', (error) => afterBody(() => reject(error)));
    incoming.once('error', () => reject(new ClientLeft()));
    incoming.once('close', () => {
      if (!incoming.complete) reject(new ClientLeft());
    });
    incoming.pipe(form);
  });
}

async function storeFile(file: Readable, blobs: BlobStore): Promise<StoredFile> {
  const start: Buffer[] = [];
  let startBytes = 0;
  const hash = createHash('sha256');
  const watch = new Transform({
    transform(part: Buffer, _encoding, done) {
      hash.update(part);
      if (startBytes < UPLOAD_MAGIC_BYTES) start.push(part.subarray(0, UPLOAD_MAGIC_BYTES));
      startBytes += part.length;
      done(null, part);
    },
  });
  file.on('error', (error) => watch.destroy(error));
  const { blobId, sizeBytes } = await blobs.put(file.pipe(watch));
  return {
    blobId,
    sizeBytes,
    format: detectUploadFormat(Buffer.concat(start)),
    sha256: hash.digest('hex'),
  };
}

/** Throws `missing_required_parameter`, `invalid_value` (empty) or `invalid_file_format`. */
export function checkFile(file: StoredFile | undefined): Omit<Upload, 'fields'> {
  if (!file) {
    throw new VoiceError('missing_required_parameter', {
      param: 'file',
      message: "Missing required parameter: 'file'.",
    });
  }
  const { format, ...stored } = file;
  const { sizeBytes } = stored;
  if (sizeBytes === 0) {
    throw new VoiceError('invalid_value', {
      param: 'file',
      message: "Invalid 'file': it is empty.",
    });
  }
  if (!format) throw new VoiceError('invalid_file_format');
  return { ...stored, format };
}

const multipartFault = (what: string, cause?: unknown): VoiceError =>
  new VoiceError('invalid_multipart', {
    message: `The multipart form could not be parsed: ${what}.`,
    cause,
  });

const broken = (cause: unknown): VoiceError =>
  multipartFault('it ends early or is malformed', cause);
