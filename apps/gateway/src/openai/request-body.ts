import type { IncomingMessage } from 'node:http';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { ClientLeft } from '../replies/client-connection.ts';

/**
 * A body that is too large is read on, and dropped, up to so many times the limit: a client that
 * is still sending when the answer comes reports a broken pipe instead of the 413, and tries again
 * (4 of 15 uploads by the JavaScript SDK). Beyond it the connection is closed.
 */
export const DRAIN_FACTOR = 4;

/** In which a body has to be there, from its first byte to its last. Not a file's, which has no such end. */
export const BODY_TIMEOUT_MS = 120_000;

/** OpenAI's sentence, which clients look for. */
export const requestTooLarge = (maxBytes: number, readBytes: number): VoiceError =>
  new VoiceError('request_too_large', {
    message: `Maximum content size limit (${maxBytes}) exceeded (${readBytes} bytes read)`,
  });

export const unsupportedContentType = (given: string, accepted: string): VoiceError => {
  const shown = given.slice(0, 100);
  return new VoiceError('unsupported_content_type', {
    message: `Unsupported content type: '${shown}'. This API method only accepts ${accepted} requests, but you specified the header 'Content-Type: ${shown}'. Please try again with a supported content type.`,
  });
};

/**
 * Bodies are taken as they are: a kilobyte of gzip may hold a gigabyte, and no SDK compresses.
 * Throws `unsupported_content_type`.
 */
export function refuseEncoded(incoming: IncomingMessage): void {
  const given = incoming.headers['content-encoding'] ?? '';
  if (given === '' || given.toLowerCase() === 'identity') return;
  throw new VoiceError('unsupported_content_type', {
    message: `Unsupported content encoding: '${given.slice(0, 100)}'. Please send the body without a Content-Encoding.`,
  });
}

/** A whole body. Throws `request_too_large`, `request_timeout`, or ClientLeft when it ends early. */
export function readBody(
  incoming: IncomingMessage,
  maxBytes: number,
  timeoutMs = BODY_TIMEOUT_MS,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let parts: Buffer[] = [];
    let length = 0;
    const settle = (finish: () => void) => {
      clearTimeout(timer);
      incoming.off('data', take).off('end', end).off('error', leave).off('close', leave);
      incoming.pause();
      finish();
    };
    const take = (part: Buffer) => {
      length += part.length;
      if (length <= maxBytes) parts.push(part);
      else parts = [];
      if (length > maxBytes * DRAIN_FACTOR) settle(() => reject(requestTooLarge(maxBytes, length)));
    };
    const end = () =>
      settle(() => {
        if (length > maxBytes) reject(requestTooLarge(maxBytes, length));
        else resolve(parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts));
      });
    const leave = () => settle(() => reject(new ClientLeft()));
    const late = () => settle(() => reject(new VoiceError('request_timeout')));
    const timer = setTimeout(late, timeoutMs);
    incoming.on('data', take).on('end', end).on('error', leave).on('close', leave);
  });
}
