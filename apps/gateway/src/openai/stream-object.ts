import { parseTimings, streamTimingsSchema } from '@antiphon/shared/streams/stream-timings';
import { z } from '@hono/zod-openapi';

/** Fields of a stream's state (see `StreamLog`). */
type StreamState = Record<string, string>;

/**
 * How far a stream is: the first row that holds. A stream's first entry is always a claim, so that
 * something in the log of a chat that no llm-worker has claimed comes from a recording.
 */
const STAGES = [
  { stage: 'ended', holds: ({ status }) => status !== 'open' },
  {
    stage: 'speaking',
    holds: ({ kind, seq, ...state }) =>
      state['phrase-0:epoch'] !== undefined || (kind === 'speech' && seq !== '0'),
  },
  { stage: 'writing', holds: (state) => state['chat:index'] !== undefined },
  { stage: 'thinking', holds: (state) => state['chat:epoch'] !== undefined },
  { stage: 'transcribing', holds: ({ seq }) => seq !== '0' },
  { stage: 'queued', holds: () => true },
] as const satisfies { stage: string; holds: (state: StreamState) => boolean }[];

/** What `describeStream` reads. */
export const STREAM_FIELDS = [
  ...['status', 'kind', 'model', 'openedMs', 'seq', 'chat:epoch', 'chat:index', 'phrase-0:epoch'],
  ...['phraseCount', 'waiting', 'ended', 'failed', 'timings', 'playback'],
];

const playbackSchema = z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]));

/** What the API says of a stream. Everything comes from its state in Redis, on any gateway. */
export const streamObjectSchema = z.object({
  id: z.string(),
  object: z.literal('stream'),
  kind: z.enum(['chat', 'speech', 'transcription']),
  model: z.string(),
  status: z.enum(['open', 'done', 'error', 'cancelled']),
  stage: z.enum(STAGES.map(({ stage }) => stage)),
  /** Unix time in seconds. */
  created_at: z.number().int(),
  timings: streamTimingsSchema,
  /** Where it is spoken. `total`: cut so far. `spoken`: with all their sound made. */
  phrases: z
    .object({ total: z.number().int(), spoken: z.number().int(), failed: z.number().int() })
    .optional(),
  /** Where it is played by the server. */
  playback: playbackSchema.optional(),
});

export type StreamObject = z.output<typeof streamObjectSchema>;

/** The stream's object from `STREAM_FIELDS` of its state. */
export function describeStream(streamId: string, state: StreamState): StreamObject {
  const { kind, model = '', status, openedMs } = state;
  const stage = STAGES.find(({ holds }) => holds(state))?.stage ?? 'queued';
  const phrases = countPhrases(state);
  const playback = parsePlayback(state['playback']);
  return {
    id: streamId,
    object: 'stream',
    kind: kind as StreamObject['kind'],
    model,
    status: status as StreamObject['status'],
    stage,
    created_at: Math.floor(Number(openedMs) / 1000),
    timings: parseTimings(state['timings']),
    ...(phrases ? { phrases } : {}),
    ...(playback ? { playback } : {}),
  };
}

function countPhrases(state: StreamState): StreamObject['phrases'] {
  const { phraseCount, waiting, ended = 0, failed = 0 } = state;
  const total = phraseCount ?? waiting;
  if (total === undefined) return undefined;
  return { total: Number(total), spoken: Number(ended) - Number(failed), failed: Number(failed) };
}

/** Left out when a newer version wrote something else. */
function parsePlayback(field: string | undefined): StreamObject['playback'] {
  if (field === undefined) return undefined;
  try {
    return playbackSchema.parse(JSON.parse(field));
  } catch {
    return undefined;
  }
}
