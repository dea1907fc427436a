import { Readable } from 'node:stream';
import { detectUploadFormat, UPLOAD_MAGIC_BYTES } from '@antiphon/shared/audio/upload-format';
import type { BlobStore } from '@antiphon/shared/storage/blob-store';
import type { Context } from 'hono';
import { z } from 'zod';
import type { GatewayEnv } from '../gateway-context.ts';
import { decodeBase64, hashOf } from './base64-audio.ts';
import { parseBody, readJsonBody } from './json-body.ts';
import { checkFile, type Upload } from './upload.ts';

/** What stands around the audio. */
const ENVELOPE_BYTES = 65_536;

/** OpenRouter's form of a transcription, which Open WebUI can send; other fields as in the form. */
export const jsonTranscriptionSchema = z.looseObject({
  input_audio: z.looseObject({ data: z.string(), format: z.string().nullish() }),
  model: z.string().nullish(),
  language: z.string().nullish(),
});

/**
 * Reads `{model, input_audio: {data, format}, language}`: the audio goes to the blob store, as an
 * upload's does; its `format` is not looked at. Throws `invalid_value`, `request_too_large`,
 * `invalid_file_format` and what a JSON body throws; then nothing stays in the store.
 */
export async function readJsonUpload(
  c: Context<GatewayEnv>,
  blobs: BlobStore,
  maxBytes: number,
): Promise<Upload> {
  const body = await readJsonBody(c, Math.ceil(maxBytes / 3) * 4 + ENVELOPE_BYTES);
  const { input_audio: audio, ...fields } = parseBody(jsonTranscriptionSchema, body.value);
  const bytes = decodeBase64({ data: audio.data, param: 'input_audio.data' }, maxBytes);
  const format = detectUploadFormat(bytes.subarray(0, UPLOAD_MAGIC_BYTES));
  const checked = checkFile({ sizeBytes: bytes.length, format });
  const sha256 = await hashOf(bytes);
  const { blobId } = await blobs.put(Readable.from([bytes]));
  return { ...checked, blobId, sha256, fields: formFields(fields) };
}

/** JSON values as the form would have them, so that one set of rules holds for both. */
export function formFields(values: Record<string, unknown>): Map<string, string[]> {
  const asText = (value: unknown) => (typeof value === 'string' ? value : JSON.stringify(value));
  return new Map(
    Object.entries(values).flatMap(([name, value]): [string, string[]][] => {
      if (value === null || value === undefined) return [];
      return [[name, Array.isArray(value) ? value.map(asText) : [asText(value)]]];
    }),
  );
}
