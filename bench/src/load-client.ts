/**
 * The load client: runs one load plan at a time against a target and reports times. A process of
 * its own; takes its orders from its parent and ends with it.
 */
import { Agent } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { monotonicMs } from './clock.ts';
import type { LoadOrder, LoadPlan, LoadReply, LoadResult, LoadTarget } from './load-plan.ts';
import { post } from './post.ts';
import { BrokenStreamError, TokenReader } from './token-reader.ts';
import { chatRequestBody } from './token-script.ts';
import type { TokenScript } from './token-script.ts';

const MAX_LATENCY_SAMPLES = 200_000;

/**
 * One pool per plan: a connection that rested through another side's turn may be closed by its
 * server in the very moment of its next request, which is no fault of that side.
 */
let agent = new Agent();

/** Collects the times of the counted streams of one plan. */
class Tally {
  readonly firstTokenMs: number[] = [];
  readonly #latencies = new Float64Array(MAX_LATENCY_SAMPLES);
  #latencyCount = 0;
  #longestPauseMs = 0;
  #tokens = 0;
  #streams = 0;
  readonly #startMs = monotonicMs();

  /** Tokens of every stream, counted or not. */
  allTokens = 0;

  first(ms: number): void {
    this.firstTokenMs.push(ms);
    this.#streams += 1;
  }

  token(latencyMs: number, pauseMs: number): void {
    if (this.#latencyCount < MAX_LATENCY_SAMPLES) this.#latencies[this.#latencyCount++] = latencyMs;
    if (pauseMs > this.#longestPauseMs) this.#longestPauseMs = pauseMs;
    this.#tokens += 1;
  }

  result(): LoadResult {
    return {
      firstTokenMs: this.firstTokenMs,
      tokenLatencyMs: this.#latencies.slice(0, this.#latencyCount),
      longestPauseMs: this.#longestPauseMs,
      streams: this.#streams,
      tokens: this.#tokens,
      allTokens: this.allTokens,
      elapsedMs: monotonicMs() - this.#startMs,
    };
  }
}

/** Runs one stream to its end; `tally` is told of its tokens if it counts. */
async function runStream(target: LoadTarget, script: TokenScript, tally?: Tally): Promise<void> {
  const body = chatRequestBody(script);
  const sentMs = monotonicMs();
  const response = await post({ agent, ...target, path: '/v1/chat/completions', body });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let nowMs = 0;
  let lastMs = 0;
  const reader = new TokenReader((index, stampMs) => {
    if (index === 0) {
      tally?.first(nowMs - sentMs);
      lastMs = nowMs;
    }
    tally?.token(nowMs - stampMs, nowMs - lastMs);
    lastMs = nowMs;
  });
  response.on('data', (bytes: Buffer) => {
    nowMs = monotonicMs();
    try {
      reader.push(bytes);
    } catch (error) {
      reject(error);
      response.destroy();
    }
  });
  response.once('error', reject);
  response.once('close', () => reject(new BrokenStreamError('The socket closed mid-stream')));
  response.once('end', () => {
    try {
      reader.end(script.tokens);
      resolve();
    } catch (error) {
      reject(error);
    }
  });
  await promise;
}

async function runSequential(target: LoadTarget, script: TokenScript, requests: number) {
  // Opens the connection.
  await runStream(target, script);
  const tally = new Tally();
  for (let i = 0; i < requests; i += 1) await runStream(target, script, tally);
  tally.allTokens = requests * script.tokens;
  return tally.result();
}

/** Starts are spread over the length of a stream, so that the load is even from the beginning. */
async function runSteady(target: LoadTarget, plan: LoadPlan & { kind: 'steady' }) {
  const tally = new Tally();
  const { script, streams } = plan;
  const streamMs = (script.tokens / script.tokensPerSecond) * 1e3;
  const startMs = monotonicMs();
  const countFromMs = startMs + plan.warmUpMs;
  const stopMs = countFromMs + plan.measureMs;
  const lanes = Array.from({ length: streams }, async (_, lane) => {
    await delay((streamMs * lane) / streams);
    for (;;) {
      const nowMs = monotonicMs();
      // A lane that would stop now keeps loading the others until all counted streams are over.
      if (nowMs > stopMs + streamMs) return;
      const counts = nowMs >= countFromMs && nowMs < stopMs;
      await runStream(target, script, counts ? tally : undefined);
      tally.allTokens += script.tokens;
    }
  });
  await Promise.all(lanes);
  return tally.result();
}

async function runBursts(target: LoadTarget, plan: LoadPlan & { kind: 'burst' }) {
  const tally = new Tally();
  for (let i = 0; i < plan.requests; i += 1) {
    await Promise.all(
      Array.from({ length: plan.streams }, () => runStream(target, plan.script, tally)),
    );
  }
  tally.allTokens = plan.requests * plan.streams * plan.script.tokens;
  return tally.result();
}

async function run({ target, plan }: LoadOrder): Promise<LoadResult> {
  agent = new Agent({ keepAlive: true, maxSockets: Infinity, maxFreeSockets: Infinity });
  try {
    if (plan.kind === 'sequential') return await runSequential(target, plan.script, plan.requests);
    if (plan.kind === 'steady') return await runSteady(target, plan);
    return await runBursts(target, plan);
  } finally {
    agent.destroy();
  }
}

process.on('message', (order: LoadOrder) => {
  const reply = (message: LoadReply): void => void process.send?.(message);
  run(order).then(
    (result) => reply({ result }),
    (error: unknown) => reply({ failure: error instanceof Error ? error.message : String(error) }),
  );
});
process.once('disconnect', () => process.exit(0));
