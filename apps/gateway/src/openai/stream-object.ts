import { SAMPLE_RATE_HZ } from '@antiphon/shared/audio/audio-format';
import { parseTimings, streamTimingsSchema } from '@antiphon/shared/streams/stream-timings';
import { z } from '@hono/zod-openapi';

/** Fields of a stream's state (see `StreamLog`). */
type StreamState = Record<string, string>;

/**
 * How far a stream is: the first row that holds. A stream's first entries are claims: where it is
 * begun and no llm-worker has claimed it, a recording is being heard.
 */
const STAGES = [
  { stage: 'ended', holds: ({ status }) => status !== 'open' },
  {
    stage: 'speaking',
    holds: (state) =>
      state['phrase-0:epoch'] !== undefined || (state['kind'] === 'speech' && isBegun(state)),
  },
  { stage: 'writing', holds: (state) => state['chat:index'] !== undefined },
  { stage: 'thinking', holds: (state) => state['chat:epoch'] !== undefined },
  { stage: 'transcribing', holds: (state) => isBegun(state) },
  { stage: 'queued', holds: () => true },
] as const satisfies { stage: string; holds: (state: StreamState) => boolean }[];

/** Something is in its log besides the claims of the gateway's own player. */
function isBegun({ seq, ...state }: StreamState): boolean {
  return Number(seq) > Number(state['playback:epoch'] ?? 0);
}

/** What `describeStream` reads. */
export const STREAM_FIELDS = [
  ...[
    'queueName',
    'recordingsQueueName',
    'status',
    'kind',
    'model',
    'openedMs',
    'seq',
    'chat:epoch',
    'chat:index',
    'phrase-0:epoch',
  ],
  ...['phraseCount', 'waiting', 'ended', 'failed', 'cached', 'timings'],
  ...['playback', 'playback:epoch', 'playback:index', 'playback:error', 'produced', 'sent'],
];

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
  /** Its place in the queue while nobody has taken it, 1 for the next; of one stream alone. */
  queue_position: z.number().int().optional(),
  timings: streamTimingsSchema,
  /** Where it is spoken. `total`: cut so far. `spoken`: with all their sound, `cached` of them from the cache. */
  phrases: z
    .object({
      total: z.number().int(),
      spoken: z.number().int(),
      failed: z.number().int(),
      cached: z.number().int(),
    })
    .optional(),
  /** Where the server plays it: sound that was made, and that was given to the player. */
  playback: z
    .object({
      producedMs: z.number().int(),
      playedMs: z.number().int(),
      ended: z.boolean(),
      /** Code of the fault for which nothing more is heard. */
      error: z.string().optional(),
    })
    .optional(),
});

export type StreamObject = z.output<typeof streamObjectSchema>;

/** The stream's object from `STREAM_FIELDS` of its state. */
export function describeStream(streamId: string, state: StreamState): StreamObject {
  const { kind, model = '', status, openedMs } = state;
  const stage = STAGES.find(({ holds }) => holds(state))?.stage ?? 'queued';
  const phrases = countPhrases(state);
  const playback = describePlayback(state);
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
  const { phraseCount, waiting, ended = 0, failed = 0, cached = 0 } = state;
  const total = phraseCount ?? waiting;
  if (total === undefined) return undefined;
  return {
    total: Number(total),
    spoken: Number(ended) - Number(failed),
    failed: Number(failed),
    cached: Number(cached),
  };
}

function describePlayback(state: StreamState): StreamObject['playback'] {
  if (state['playback'] !== '1') return undefined;
  const error = state['playback:error'];
  const toMs = (samples = '0') => Math.round((Number(samples) * 1000) / SAMPLE_RATE_HZ);
  return {
    producedMs: toMs(state['produced']),
    playedMs: toMs(state['sent']),
    ended: state['playback:index'] !== undefined,
    ...(error === undefined ? {} : { error }),
  };
}
