import { fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import type { BatchCase } from './batch-cases.ts';
import { checkBatch, createBatch, firstAudioMs, readBatch, untilBatch } from './batch-client.ts';
import type { BareSpeechOrder, BareSpeechReply, BatchCaseResult } from './batch-plan.ts';
import { batchSentences } from './batch-text.ts';
import { messageOf } from './child-message.ts';
import { monotonicMs } from './clock.ts';
import type { Program } from './program.ts';
import { startAntiphon } from './sides.ts';
import type { Side, StartOptions } from './sides.ts';

const VOICE = 'slt';
/** As many as flite's engine takes on this machine. */
const THREADS = Math.max(1, Math.min(2, availableParallelism()));
/** What somebody says who waits: a sentence of the length that a first phrase has. */
const ASKED = 'Good morning, how are you today?';
const WARM_UP_LINES = 40;

export interface BatchSuiteOptions {
  start: StartOptions;
  cases: BatchCase[];
  /** Takes a side into the care of the caller, who stops it. */
  onSide: (side: Pick<Side, 'programs'>) => void;
}

/** Measures batches beside the engine in a bare loop, and somebody who waits beside a batch. */
export async function benchBatches({
  start,
  cases,
  onSide,
}: BatchSuiteOptions): Promise<{ results: BatchCaseResult[]; measuringFromMs: number }> {
  const { target, programs } = await startAntiphon(start, ['demo', 'flite']);
  onSide({ programs });
  const base = `http://127.0.0.1:${target.port}/v1`;
  console.error('Warming up batches…');
  await runBatch(base, batchSentences(WARM_UP_LINES));
  for (let count = 0; count < 10; count += 1) await firstAudioMs(base, ASKED, VOICE);
  const measuringFromMs = monotonicMs();
  const results: BatchCaseResult[] = [];
  for (const batchCase of cases) {
    console.error(`${batchCase.title}…`);
    results.push(await measure({ base, programs, batchCase }));
  }
  return { results, measuringFromMs };
}

interface Measuring {
  base: string;
  programs: Program[];
  batchCase: BatchCase;
}

async function measure({ base, programs, batchCase }: Measuring): Promise<BatchCaseResult> {
  const { lines, bareLines, requests, title, name } = batchCase;
  const texts = batchSentences(lines);
  // From all over: the later ones are longer, since they count.
  const bareTexts = texts.filter((_, index) => index % (lines / bareLines) === 0);
  const bareMsPerLine = [(await bareLoopMs(bareTexts)) / bareLines];
  const idleFirstAudioMs = await askMany(base, requests);
  const before = programs.map((program) => program.cpuMs);
  const elapsedMs = await runBatch(base, texts);
  const each = <T>(read: (program: Program, index: number) => T): Record<string, T> =>
    Object.fromEntries(programs.map((program, index) => [program.name, read(program, index)]));
  const batch = {
    lines,
    elapsedMs,
    peakBytes: each((program) => program.peakBytes),
    cpuMs: each((program, index) => program.cpuMs - before[index]!),
  };
  bareMsPerLine.push((await bareLoopMs(bareTexts)) / bareLines);
  const besideFirstAudioMs = await askBeside(base, { texts, requests });
  // Before and after, as the bare loop: minutes lie between, in which a machine may grow slower.
  idleFirstAudioMs.push(...(await askMany(base, requests)));
  const firstAudio = { idleFirstAudioMs, besideFirstAudioMs };
  return { title, name, threads: THREADS, batch, bareMsPerLine, ...firstAudio };
}

/** In ms, from its creation to its last file. Throws unless each line is there once. */
async function runBatch(base: string, texts: string[]): Promise<number> {
  const startMs = performance.now();
  const batchId = await createBatch(base, texts, VOICE);
  const batch = await untilBatch(base, batchId, ({ status }) => status === 'completed');
  const elapsedMs = performance.now() - startMs;
  await checkBatch(base, batch, texts.length);
  return elapsedMs;
}

async function bareLoopMs(texts: string[]): Promise<number> {
  const child = fork(new URL('./bare-speech.ts', import.meta.url));
  child.send({ texts, threads: THREADS, voice: VOICE } satisfies BareSpeechOrder);
  return (await messageOf<BareSpeechReply>(child, 'bare loop')).elapsedMs;
}

async function askMany(base: string, requests: number): Promise<number[]> {
  const times: number[] = [];
  while (times.length < requests) times.push(await firstAudioMs(base, ASKED, VOICE));
  return times;
}

/** The batch is in full swing before the first one asks, and still after the last. */
async function askBeside(
  base: string,
  { texts, requests }: { texts: string[]; requests: number },
): Promise<number[]> {
  const batchId = await createBatch(base, texts, VOICE);
  await untilBatch(base, batchId, ({ request_counts: { completed } }) => completed > 20);
  const times = await askMany(base, requests);
  const { status } = await readBatch(base, batchId);
  if (status !== 'in_progress') throw new Error(`The batch was ${status} before all had asked.`);
  await fetch(`${base}/batches/${batchId}/cancel`, { method: 'POST' });
  await untilBatchOver(base, batchId);
  return times;
}

async function untilBatchOver(base: string, batchId: string): Promise<void> {
  await untilBatch(base, batchId, ({ status }) => status === 'cancelled');
}
