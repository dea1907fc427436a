import { setTimeout as delay } from 'node:timers/promises';
import { APIConnectionError, APIError } from 'openai';
import { type Batch, type BatchClient, isOver } from './batch-client.ts';
import { textLines } from './jsonl.ts';

/** Between two looks at a batch, where the server has no events. */
const POLL_MS = 2000;
/** Events come with comments in between; a stream that is silent for so long is dead. */
const SILENCE_MS = 60_000;
/** A server that is away so long is not only being restarted. */
const AWAY_MS = 300_000;
const MOST_AWAY_POLL_MS = 10_000;

export interface WatchOptions {
  signal: AbortSignal;
  /** Hears once each time that the server is away. */
  onAway?: () => void;
}

/**
 * The batch whenever it has changed, the last time when it is over: by the server's events, or by
 * asking every 2 s. Once it was seen, a server that is away is waited for, for 5 minutes. Rejects
 * with what the SDK throws.
 */
export async function* watchBatch(
  client: BatchClient,
  batchId: string,
  { signal, onAway = () => undefined }: WatchOptions,
): AsyncGenerator<Batch> {
  const sight: Sight = {};
  for (let pauseMs = POLL_MS; ;) {
    try {
      yield* lookOnce(client, batchId, { signal, sight });
      if (sight.last && isOver(sight.last)) return;
      pauseMs = POLL_MS;
    } catch (thrown) {
      if (signal.aborted || !sight.last || !isPassing(thrown)) throw thrown;
      if (sight.awaySinceMs === undefined) onAway();
      sight.awaySinceMs ??= performance.now();
      if (performance.now() - sight.awaySinceMs > AWAY_MS) throw thrown;
      pauseMs = Math.min(pauseMs * 2, MOST_AWAY_POLL_MS);
    }
    await delay(pauseMs, undefined, { signal });
  }
}

interface Sight {
  last?: Batch;
  awaySinceMs?: number | undefined;
}

/** The batch as it is, then its events for as long as they come, where the server has them. */
async function* lookOnce(
  client: BatchClient,
  batchId: string,
  { signal, sight }: { signal: AbortSignal; sight: Sight },
): AsyncGenerator<Batch> {
  yield (sight.last = await client.get(batchId, signal));
  sight.awaySinceMs = undefined;
  if (isOver(sight.last)) return;
  const silence = new AbortController();
  const timer = setTimeout(() => silence.abort(), SILENCE_MS);
  try {
    const stop = AbortSignal.any([signal, silence.signal]);
    const body = await client.events(batchId, stop);
    for await (const line of textLines(refreshing(timer, body))) {
      const batch = batchOf(line);
      if (batch) yield (sight.last = batch);
    }
  } catch (thrown) {
    if (signal.aborted) throw thrown;
    // Broken off, silent, or refused: the next look at the batch itself tells.
  } finally {
    clearTimeout(timer);
  }
}

async function* refreshing(
  timer: NodeJS.Timeout,
  body: AsyncIterable<Uint8Array> | undefined,
): AsyncGenerator<Uint8Array> {
  for await (const bytes of body ?? []) {
    timer.refresh();
    yield bytes;
  }
}

function batchOf(line: string): Batch | undefined {
  const data = /^data: ?(\{.*\})\s*$/.exec(line)?.[1];
  if (data === undefined) return undefined;
  const value = JSON.parse(data) as Partial<Batch>;
  return typeof value.status === 'string' ? (value as Batch) : undefined;
}

/** Whether the server may be there again in a moment. */
function isPassing(thrown: unknown): boolean {
  if (thrown instanceof APIConnectionError) return true;
  if (thrown instanceof APIError) return thrown.status === 429 || (thrown.status ?? 0) >= 500;
  return thrown instanceof TypeError && thrown.message === 'terminated';
}
