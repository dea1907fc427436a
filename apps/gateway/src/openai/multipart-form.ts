import type { IncomingMessage } from 'node:http';
import { Busboy, type BusboyHeaders } from '@fastify/busboy';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { ClientLeft } from '../replies/client-connection.ts';
import {
  BODY_TIMEOUT_MS,
  DRAIN_FACTOR,
  refuseEncoded,
  requestTooLarge,
  unsupportedContentType,
} from './request-body.ts';

/**
 * OpenAI's largest form has 22 parts without its lists of `languages[]` and `keywords[]`, which are
 * as long as their sender likes.
 */
export const MAX_PARTS = 40;
const MAX_FIELD_BYTES = 65_536;
/** Part headers and fields around the file. */
const FORM_OVERHEAD_BYTES = 65_536;

/** Throws `unsupported_content_type`, or `invalid_multipart` without a boundary. */
export function openForm(incoming: IncomingMessage, maxBytes: number) {
  const contentType = incoming.headers['content-type'] ?? '';
  if (!/^multipart\/form-data\b/i.test(contentType)) {
    throw unsupportedContentType(contentType, "'multipart/form-data'");
  }
  refuseEncoded(incoming);
  try {
    return new Busboy({
      headers: incoming.headers as BusboyHeaders,
      preservePath: true, // to see which names are none
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

interface FormLimits {
  maxBytes: number;
  /** Between two pieces; undefined: `BODY_TIMEOUT_MS` for all of it. */
  idleMs: number | undefined;
}

/**
 * Resolves with the number of bytes read when the form has ended. A refused one is read on, so
 * that its sender hears why, up to `DRAIN_FACTOR` times the limit. Rejects with `request_too_large`,
 * `request_timeout`, ClientLeft, or the parser's fault.
 */
export function parseForm(
  incoming: IncomingMessage,
  form: ReturnType<typeof openForm>,
  { maxBytes, idleMs }: FormLimits,
): Promise<number> {
  return new Promise((resolve, reject) => {
    let readBytes = 0;
    const giveUp = (error: VoiceError) => {
      incoming.off('data', count).unpipe(form).pause();
      settle(() => reject(error));
    };
    const timer = setTimeout(() => {
      giveUp(new VoiceError('request_timeout'));
    }, idleMs ?? BODY_TIMEOUT_MS);
    const settle = (finish: () => void) => {
      clearTimeout(timer);
      finish();
    };
    const count = (part: Buffer) => {
      readBytes += part.length;
      if (idleMs !== undefined) timer.refresh();
      if (readBytes > maxBytes * DRAIN_FACTOR + FORM_OVERHEAD_BYTES) {
        giveUp(requestTooLarge(maxBytes, readBytes));
      }
    };
    incoming.on('data', count);
    // The form is over before the request is: what is left unread would cost the connection.
    const afterBody = (finish: () => void) => {
      incoming.unpipe(form);
      if (incoming.readableEnded) return settle(finish);
      incoming.once('end', () => settle(finish));
      incoming.resume();
    };
    form.on('finish', () => afterBody(() => resolve(readBytes)));
    form.on('error', (error) => afterBody(() => reject(error)));
    const leave = () => settle(() => reject(new ClientLeft()));
    incoming.once('error', leave);
    incoming.once('close', () => {
      if (!incoming.complete) leave();
    });
    incoming.pipe(form);
  });
}

export const multipartFault = (what: string, cause?: unknown): VoiceError =>
  new VoiceError('invalid_multipart', {
    message: `The multipart form could not be parsed: ${what}.`,
    cause,
  });
