import { z } from '@hono/zod-openapi';

/** One row of `/openapi.json`. */
export interface GatewayOperation {
  method: 'get' | 'post' | 'delete';
  path: string;
  tag: 'chat' | 'audio' | 'models' | 'files' | 'batches' | 'streams' | 'health' | 'documentation';
  /** One line; what needs more stands in `description`, as Markdown. */
  summary: string;
  description?: string;
  body?: z.ZodType;
  /** Bodies that work as they are, to be tried on the page, by what they show. */
  examples?: Record<string, object>;
  form?: object;
  parameters?: z.ZodObject;
  query?: z.ZodObject;
  /** Of the 200. */
  headers?: z.ZodObject;
  /** Content types of the 200; JSON unless told. */
  answers?: string[];
  /** Shape of the 200 in JSON where it is ours. */
  answer?: z.ZodType;
  /** Shape of one `data:` line of the 200 in server-sent events. */
  event?: z.ZodType;
  /** Needs no key. */
  open?: boolean;
}

export const EVENTS = 'text/event-stream';

const BACKGROUND =
  'The stream goes on to its end without its client, and can be read again: `/v1/streams/{id}/events` and `/audio`. The header `x-stream-resume: 1` asks for the same, for a short while without its client; so does an `Idempotency-Key`, with which the same request is answered again instead of done twice.';

/** A field of ours in the bodies of chat, speech and transcriptions; no engine sees it. */
export const backgroundField = z.boolean().nullish().describe(BACKGROUND);
/** The same in a form. */
export const backgroundFormField = { type: 'boolean', default: false, description: BACKGROUND };

/** Of every reply that is a stream's. */
export const STREAM_HEADERS = z.object({
  'x-request-id': z.string().describe('Of this request, in the log as well.'),
  'x-stream-id': z.string().describe('For `/v1/streams/{id}`: to look at it, or to stop it.'),
});

/** Of every reply with sound. */
export const SOUND_HEADERS = STREAM_HEADERS.extend({
  'x-cache': z
    .enum(['hit', 'miss'])
    .optional()
    .describe(
      'Whether the sound that the answer begins with was kept from an earlier one. Only where there is a cache (`SPEECH_CACHE`) and the answer begins with sound. How many phrases were: `phrases.cached` of `/v1/streams/{id}`.',
    ),
  'server-timing': z
    .string()
    .optional()
    .describe(
      'With sound: where the time to the first byte went, in ms, as far as it is known: `queue`, `transcript`, `first-token`, `first-phrase`, `synthesis`, `first-byte`, `first-audio`. The rest is in `timings` of `/v1/streams/{id}`.',
    ),
});
