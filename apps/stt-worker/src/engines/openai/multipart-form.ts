import { randomUUID } from 'node:crypto';
import type { RecordedAudio, UploadFormat } from '@antiphon/shared/services/stt-service';

const CONTENT_TYPES: Record<UploadFormat, string> = {
  wav: 'audio/wav',
  mp3: 'audio/mpeg',
  flac: 'audio/flac',
  ogg: 'audio/ogg',
  webm: 'audio/webm',
  mp4: 'audio/mp4',
  aac: 'audio/aac',
};

export interface MultipartForm {
  body: Uint8Array<ArrayBuffer>;
  headers: Record<string, string>;
}

/**
 * The file, untouched, and the fields as one body. In memory, once: a request that is repeated
 * sends the same bytes, with the Content-Length that several servers insist on.
 */
export async function multipartForm(
  audio: RecordedAudio,
  fields: readonly (readonly [name: string, value: string])[],
  signal: AbortSignal,
): Promise<MultipartForm> {
  const boundary = `antiphon-${randomUUID()}`;
  const texts = fields.map(
    ([name, value]) =>
      `--${boundary}\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`,
  );
  const { format, sizeBytes } = audio;
  const fileHead = `--${boundary}\r\ncontent-disposition: form-data; name="file"; filename="audio.${format}"\r\ncontent-type: ${CONTENT_TYPES[format]}\r\n\r\n`;
  const head = Buffer.from(texts.join('') + fileHead);
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`);
  const body = new Uint8Array(head.length + sizeBytes + tail.length);
  body.set(head);
  let at = head.length;
  for await (const piece of audio.bytes()) {
    signal.throwIfAborted();
    body.set(piece, at);
    at += piece.length;
  }
  body.set(tail, at);
  return { body, headers: { 'content-type': `multipart/form-data; boundary=${boundary}` } };
}
