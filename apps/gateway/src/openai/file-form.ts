import type { IncomingMessage } from 'node:http';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import {
  FILE_LIFE_SECONDS,
  MIN_FILE_LIFE_SECONDS,
  createFileId,
} from '@antiphon/shared/files/file-record';
import type { BlobStore } from '@antiphon/shared/storage/blob-store';
import { z } from 'zod';
import { UPLOAD_PURPOSES } from './file-object.ts';
import { parseBody } from './json-body.ts';
import { type StoredFile, type UploadForm, readUploadForm, requireFile } from './upload-form.ts';

/** Contract, section 7. */
const fileFormSchema = z.object({
  purpose: z.enum(UPLOAD_PURPOSES),
  expires_after: z
    .object({
      anchor: z.enum(['created_at']),
      seconds: z
        .string()
        .transform((text) => (/^\d+$/.test(text) ? Number(text) : Number.NaN))
        .pipe(z.number().int().min(MIN_FILE_LIFE_SECONDS).max(FILE_LIFE_SECONDS)),
    })
    .optional(),
});

/** A file whose bytes are stored already. */
export interface FileUpload {
  /** Of the file and of its blob. */
  id: string;
  bytes: number;
  filename: string;
  purpose: (typeof UPLOAD_PURPOSES)[number];
  /** Undefined: it stays until it is deleted. */
  lifeSeconds: number | undefined;
}

/**
 * Reads a multipart form with a file and what it is for. Throws `missing_required_parameter`,
 * `invalid_value`, `invalid_file_format` (of a file for a batch), and what a form throws; then
 * nothing stays in the store.
 */
export function readFileForm(
  incoming: IncomingMessage,
  blobs: BlobStore,
  limits: { maxBytes: number; idleMs: number },
): Promise<FileUpload> {
  return readUploadForm(incoming, {
    ...{ blobs, ...limits },
    store: (file) => blobs.put(file, createFileId()),
    check: checkForm,
  });
}

function checkForm({ file, fileName, fields }: UploadForm<StoredFile>): FileUpload {
  const { blobId: id, sizeBytes: bytes } = requireFile(file);
  const { purpose, expires_after: expiry } = parseBody(fileFormSchema, formBody(fields));
  // Of a path, as Go's clients send them, the end; no name at all is one as well.
  const filename = fileName?.split(/[/\\]/).at(-1) || 'file';
  if (purpose === 'batch' && !/\.jsonl$/i.test(filename)) {
    throw new VoiceError('invalid_file_format', {
      param: 'file',
      message: 'Invalid file format for Batch API. Must be .jsonl',
    });
  }
  const preset = purpose === 'batch' ? FILE_LIFE_SECONDS : undefined;
  return { id, bytes, filename, purpose, lifeSeconds: expiry?.seconds ?? preset };
}

/** `expires_after[seconds]=3600` as the object that it stands for; an empty field counts as left out. */
function formBody(fields: Map<string, string[]>): Record<string, unknown> {
  const single = (name: string) => fields.get(name)?.at(-1) || undefined;
  const entries = ['anchor', 'seconds'].flatMap((name): [string, string][] => {
    const value = single(`expires_after[${name}]`);
    return value === undefined ? [] : [[name, value]];
  });
  const purpose = single('purpose');
  return {
    ...(purpose === undefined ? {} : { purpose }),
    ...(entries.length === 0 ? {} : { expires_after: Object.fromEntries(entries) }),
  };
}
