import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { type Readable, Transform } from 'node:stream';
import { UPLOAD_MAGIC_BYTES, detectUploadFormat } from '@antiphon/shared/audio/upload-format';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { UploadFormat } from '@antiphon/shared/services/stt-service';
import type { BlobStore } from '@antiphon/shared/storage/blob-store';
import { type StoredFile, readUploadForm, requireFile } from './upload-form.ts';

export interface Upload extends StoredFile {
  /** Of the file's bytes, as hex. */
  sha256: string;
  format: UploadFormat;
  /** By name without `[]`; several of one name in order. */
  fields: Map<string, string[]>;
}

interface StoredRecording extends StoredFile {
  sha256: string;
  format: UploadFormat | undefined;
}

/**
 * Reads a multipart form with a recording; its name is used for nothing. Throws
 * `unsupported_content_type`, `invalid_multipart`, `missing_required_parameter`,
 * `request_too_large`, `invalid_file_format`, or ClientLeft; then nothing stays in the store.
 */
export function readUpload(
  incoming: IncomingMessage,
  blobs: BlobStore,
  maxBytes: number,
): Promise<Upload> {
  return readUploadForm(incoming, {
    ...{ blobs, maxBytes },
    store: (file) => storeRecording(file, blobs),
    check: ({ file, fields }) => ({ ...checkFile(file), fields }),
  });
}

async function storeRecording(file: Readable, blobs: BlobStore): Promise<StoredRecording> {
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
export function checkFile<File extends { sizeBytes: number; format: UploadFormat | undefined }>(
  file: File | undefined,
): Omit<File, 'format'> & { format: UploadFormat } {
  const { format, ...rest } = requireFile(file);
  if (!format) throw new VoiceError('invalid_file_format');
  return { ...rest, format };
}
