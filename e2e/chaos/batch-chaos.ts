import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { until } from '@antiphon/testing/until';
import OpenAI from 'openai';
import { type AppProcess, type Stack, startStack } from '../src/stack.ts';

/** Between two faults, and before what was killed comes back. */
const QUIET_MS = 3000;
const AWAY_MS = 1000;
const TARGETS = ['tts-worker', 'gateway', 'tts-worker', 'redis'] as const;
type Target = (typeof TARGETS)[number];
const READY_MS = 20_000;

export interface BatchChaosOptions {
  lines: number;
  /** The batch must be over by then. */
  withinMs: number;
  tell: (line: string) => void;
}

export interface BatchChaosReport {
  status: string;
  counts: { total: number; completed: number; failed: number };
  /** How often each was killed. */
  killed: Record<Target, number>;
  /** What is not as promised, a sentence each. */
  violations: string[];
  seconds: number;
}

/** What a batch needs, of which anything may be killed. */
export const startBatchStack = (): Promise<Stack> =>
  startStack({
    apps: ['gateway', 'tts-worker', 'tts-worker'],
    environment: { TTS_SERVICE: 'flite' },
    models: ['flite'],
  });

/**
 * A batch of speech over real processes, of which one is killed outright every few seconds, Redis
 * among them, until the batch is over; then every line is looked for, in the files and on disk.
 */
export async function runBatchChaos(
  stack: Stack,
  options: BatchChaosOptions,
): Promise<BatchChaosReport> {
  const { lines, tell } = options;
  try {
    const client = new OpenAI({ baseURL: stack.baseUrl, apiKey: 'none', maxRetries: 8 });
    const startedAtMs = performance.now();
    const batchId = await order(client, lines);
    const killing = new Killing(stack, tell);
    const status = await watch(client, batchId, { killing, ...options });
    await killing.stop();
    const seconds = (performance.now() - startedAtMs) / 1000;
    const batch = await client.batches.retrieve(batchId);
    const counts = batch.request_counts ?? { total: 0, completed: 0, failed: 0 };
    const violations = await lookForAll({ stack, client, batch, lines });
    return { status, counts, killed: killing.killed, violations, seconds };
  } finally {
    await stack.close();
  }
}

async function order(client: OpenAI, lines: number): Promise<string> {
  const texts = Array.from({ length: lines }, (_, index) =>
    JSON.stringify({
      ...{ custom_id: `line-${index}`, method: 'POST', url: '/v1/audio/speech' },
      body: {
        model: 'flite',
        voice: 'slt',
        response_format: 'wav',
        input: `This is sentence number ${index} of a long night.`,
      },
    }),
  );
  const file = new File([texts.join('\n')], 'night.jsonl');
  const { id } = await client.files.create({ file, purpose: 'batch' });
  const batch = await client.batches.create({
    input_file_id: id,
    endpoint: '/v1/audio/speech' as '/v1/chat/completions', // the SDK knows OpenAI's endpoints only
    completion_window: '24h',
  });
  return batch.id;
}

interface Watching extends BatchChaosOptions {
  killing: Killing;
}

/** Resolves with the status at the end. */
async function watch(
  client: OpenAI,
  batchId: string,
  { killing, withinMs, tell }: Watching,
): Promise<string> {
  const deadlineMs = performance.now() + withinMs;
  let toldAtMs = 0;
  for (;;) {
    // Whoever is killed right now is asked again.
    const batch = await client.batches.retrieve(batchId).catch(() => undefined);
    if (batch && batch.status !== 'validating') killing.start();
    if (batch && performance.now() - toldAtMs > 10_000) {
      toldAtMs = performance.now();
      tell(`${batch.status}: ${batch.request_counts?.completed} of ${batch.request_counts?.total}`);
    }
    if (batch && ['completed', 'failed', 'expired', 'cancelled'].includes(batch.status))
      return batch.status;
    if (performance.now() > deadlineMs) return `not over in time: ${batch?.status}`;
    await delay(500);
  }
}

/** Kills one after the other, and brings each back. */
class Killing {
  readonly killed: Record<Target, number> = { gateway: 0, 'tts-worker': 0, redis: 0 };
  readonly #stack: Stack;
  readonly #tell: (line: string) => void;
  #running: Promise<void> | undefined;
  #stopped = false;

  constructor(stack: Stack, tell: (line: string) => void) {
    this.#stack = stack;
    this.#tell = tell;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    for (let turn = 0; !this.#stopped; turn += 1) {
      const target = TARGETS[turn % TARGETS.length]!;
      this.#tell(`kill -9 ${target}`);
      this.killed[target] += 1;
      await (target === 'redis' ? this.#killRedis() : this.#killProcess(target));
      await delay(QUIET_MS);
    }
  }

  async #killRedis(): Promise<void> {
    await this.#stack.redis.kill();
    await delay(AWAY_MS);
    await this.#stack.redis.restart();
  }

  async #killProcess(name: 'gateway' | 'tts-worker'): Promise<void> {
    const alive = this.#stack.processes.filter(
      ({ name: own, child }) => own === name && child.exitCode === null && !child.signalCode,
    );
    await alive[0]?.stop('SIGKILL');
    await delay(AWAY_MS);
    const again = this.#stack.start(name);
    await until(() => again.output().includes('"ready"') || isGone(again), { timeoutMs: READY_MS });
  }
}

const isGone = ({ child }: AppProcess): boolean => child.exitCode !== null;

interface Found {
  stack: Stack;
  client: OpenAI;
  batch: OpenAI.Batch;
  lines: number;
}

interface OutputLine {
  custom_id: string;
  response: { status_code: number; body: { file_id: string; bytes: number; duration_ms: number } };
}

/** Every line once, its sound whole, and no file too many. */
async function lookForAll({ stack, client, batch, lines }: Found): Promise<string[]> {
  const violations: string[] = [];
  const { completed, failed, total } = batch.request_counts ?? {
    completed: 0,
    failed: 0,
    total: 0,
  };
  if (total !== lines || completed !== lines || failed !== 0)
    violations.push(`counts: ${completed} completed, ${failed} failed of ${total}, not ${lines}`);
  if (batch.error_file_id) violations.push(`there is an error file: ${batch.error_file_id}`);
  const text = batch.output_file_id
    ? await (await client.files.content(batch.output_file_id)).text()
    : '';
  const seen = new Map<string, number>();
  for (const line of text.trimEnd().split('\n')) {
    const { custom_id: id, response } = JSON.parse(line) as OutputLine;
    seen.set(id, (seen.get(id) ?? 0) + 1);
    violations.push(...(await soundViolations(client, id, response.body)));
  }
  for (let index = 0; index < lines; index += 1) {
    const count = seen.get(`line-${index}`) ?? 0;
    if (count !== 1) violations.push(`line-${index} is there ${count} times`);
  }
  const names = await readdir(join(stack.dataDirectory, 'files'));
  // What a killed process was writing has no name yet; it is swept later.
  // So are blobs of runs that could not record them: each has one of its own behind the file's id.
  const files = new Set(
    names
      .filter((name) => name.startsWith('file-') && !name.endsWith('.part'))
      .map((name) => name.split('_')[0]),
  );
  // The input and the output besides.
  if (files.size !== lines + 2)
    violations.push(`${files.size} files lie on disk, not ${lines + 2}`);
  return violations;
}

/** One in 50 is fetched: its bytes, and the length that its header and its line tell. */
async function soundViolations(
  client: OpenAI,
  id: string,
  { file_id: fileId, bytes, duration_ms: durationMs }: OutputLine['response']['body'],
): Promise<string[]> {
  if (createHash('sha256').update(id).digest()[0]! % 50 !== 0) return [];
  const sound = Buffer.from(await (await client.files.content(fileId)).arrayBuffer());
  const dataBytes = sound.readUInt32LE(40);
  const toldBytes = (durationMs / 1000) * 48_000;
  return [
    ...(sound.length === bytes ? [] : [`${id}: ${sound.length} bytes, not ${bytes}`]),
    ...(dataBytes === sound.length - 44 ? [] : [`${id}: its header tells ${dataBytes} bytes`]),
    ...(Math.abs(dataBytes - toldBytes) < 100 ? [] : [`${id}: not ${durationMs} ms long`]),
  ];
}
