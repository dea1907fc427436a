/**
 * Measures antiphon beside the upstream alone and beside a peer on the same stack, spoken answers
 * beside a loop in one process, and batches of speech beside the bare engine.
 *
 *   npm run bench                        all cases; writes bench/results.md
 *   npm run bench -- --quick             about 2 minutes, writes nothing
 *   npm run bench -- --case flood        only cases whose name contains this
 *   npm run bench -- --case voice        spoken answers alone
 *   npm run bench -- --case batch        batches alone
 *   npm run bench -- --profile           CPU profiles of antiphon's processes, top functions printed
 *   npm run bench -- --without portkey   leaves a side out
 */
import { fork } from 'node:child_process';
import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { batchCases } from './batch-cases.ts';
import type { BatchCase } from './batch-cases.ts';
import { BATCH_SUMMARY_HEAD, batchProcessRows, batchSummaryRow } from './batch-report.ts';
import { benchBatches } from './batch-suite.ts';
import { WARM_UP, benchCases } from './cases.ts';
import type { BenchCase } from './cases.ts';
import { messageOf } from './child-message.ts';
import { monotonicMs } from './clock.ts';
import type { LoadReply } from './load-plan.ts';
import { machineDescription, versionsDescription } from './machine.ts';
import { profileReport } from './profile-report.ts';
import { SUMMARY_HEAD, resultsMarkdown, roundRows, summaryRow } from './report.ts';
import type { BenchResults } from './report.ts';
import { runCase, warmUp } from './rounds.ts';
import type { CaseResult, RunLoad } from './rounds.ts';
import { directSide, startAntiphon, startPortkey, stopSide } from './sides.ts';
import type { Side, StartOptions } from './sides.ts';
import { plainTable } from './tables.ts';
import { voiceCases } from './voice-cases.ts';
import type { VoiceCase } from './voice-cases.ts';
import { VOICE_SUMMARY_HEAD, voiceSummaryRow } from './voice-report.ts';
import { benchVoices } from './voice-suite.ts';

const RESULTS_FILE = join(import.meta.dirname, '..', 'results.md');
const PROFILE_FOLDER = join(import.meta.dirname, '..', '..', '.data', 'bench-profile');

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    profile: { type: 'boolean', default: false },
    case: { type: 'string', multiple: true, default: [] },
    without: { type: 'string', multiple: true, default: [] },
  },
});

/** What else the machine was doing: figures of a busy machine are worth little. */
const LOAD_BEFORE = loadavg()[0]!;

function report(results: BenchResults, startedMs: number): void {
  const { text, voices, batches } = results;
  if (text.length > 0) console.log(`\n${plainTable([SUMMARY_HEAD, ...text.map(summaryRow)])}`);
  if (voices.length > 0) {
    console.log(`\n${plainTable([VOICE_SUMMARY_HEAD, ...voices.map(voiceSummaryRow)])}`);
  }
  for (const result of batches) console.log(`\n${plainTable(batchProcessRows(result))}`);
  if (batches.length > 0) {
    console.log(`\n${plainTable([BATCH_SUMMARY_HEAD, ...batches.map(batchSummaryRow)])}`);
  }
  const whole = !options.quick && !options.profile && options.case.length === 0;
  if (!whole || options.without.length > 0) return;
  const run = {
    date: new Date().toISOString(),
    command: 'npm run bench',
    machine: `${machineDescription()}; load average before the run ${LOAD_BEFORE.toFixed(2)}`,
    versions: versionsDescription(),
    minutes: (performance.now() - startedMs) / 60_000,
  };
  writeFileSync(RESULTS_FILE, resultsMarkdown(run, results));
  console.log(`\nWritten: ${RESULTS_FILE}`);
}

/** What is running, so that it is stopped whatever happens. */
const running: Pick<Side, 'programs'>[] = [];

async function stopSides(): Promise<void> {
  await Promise.all(running.splice(0).map(stopSide));
}

interface Measured<T> {
  results: T[];
  /** When warming up was over: what came before is no part of a profile. */
  measuringFromMs: number;
}

/** Measures one part of the bench on processes of its own, and stops them. */
async function onOwnSides<T>(
  part: { name: string; profiles: string[] },
  common: StartOptions,
  measure: (start: StartOptions) => Promise<Measured<T>>,
): Promise<T[]> {
  const start: StartOptions = { ...common, scratchFolder: join(common.scratchFolder, part.name) };
  const profileFolder = join(PROFILE_FOLDER, part.name);
  mkdirSync(start.scratchFolder, { recursive: true });
  if (options.profile) {
    rmSync(profileFolder, { recursive: true, force: true });
    mkdirSync(profileFolder, { recursive: true });
    start.profileFolder = profileFolder;
  }
  let measured: Measured<T>;
  try {
    measured = await measure(start);
  } finally {
    await stopSides();
  }
  const { results, measuringFromMs } = measured;
  if (options.profile) {
    console.log(profileReport(profileFolder, part.profiles, measuringFromMs));
    console.log(`\nProfiles: ${profileFolder}`);
  }
  return results;
}

async function benchText(start: StartOptions, cases: BenchCase[]): Promise<Measured<CaseResult>> {
  const client = fork(new URL('./load-client.ts', import.meta.url), { serialization: 'advanced' });
  const runLoad: RunLoad = (order) => {
    client.send(order);
    return messageOf<LoadReply>(client, 'load client');
  };
  const sides: Side[] = [directSide(start)];
  const add = (side: Side): void => {
    sides.push(side);
    running.push(side);
  };
  try {
    if (!options.without.includes('antiphon')) add(await startAntiphon(start));
    if (!options.without.includes('portkey')) add(await startPortkey(start));
    console.error('Warming up…');
    await warmUp(runLoad, sides, WARM_UP);
    const measuringFromMs = monotonicMs();
    const results: CaseResult[] = [];
    for (const benchCase of cases) {
      console.error(`${benchCase.title}: ${benchCase.rounds} rounds…`);
      const result = await runCase(runLoad, sides, benchCase);
      console.log(`\n${benchCase.title}\n${plainTable(roundRows(result))}`);
      results.push(result);
    }
    return { results, measuringFromMs };
  } finally {
    if (client.connected) client.disconnect();
  }
}

function wanted<T extends { name: string }>(cases: T[]): T[] {
  const parts = options.case;
  return cases.filter(
    ({ name }) => parts.length === 0 || parts.some((part) => name.includes(part)),
  );
}

interface Cases {
  textCases: BenchCase[];
  spokenCases: VoiceCase[];
  batches: BatchCase[];
}

async function bench(
  start: StartOptions,
  { textCases, spokenCases, batches }: Cases,
): Promise<BenchResults> {
  const { without } = options;
  const onSide = (side: Pick<Side, 'programs'>): void => void running.push(side);
  const text = { name: 'text', profiles: ['gateway', 'llm-worker'] };
  const batch = { name: 'batch', profiles: ['gateway', 'tts-worker'] };
  const voice = { name: 'voice', profiles: ['gateway', 'llm-worker', 'tts-worker'] };
  return {
    text:
      textCases.length === 0
        ? []
        : await onOwnSides(text, start, (own) => benchText(own, textCases)),
    voices:
      spokenCases.length === 0
        ? []
        : await onOwnSides(voice, start, (own) =>
            benchVoices({ start: own, cases: spokenCases, without, onSide }),
          ),
    batches:
      batches.length === 0
        ? []
        : await onOwnSides(batch, start, (own) =>
            benchBatches({ start: own, cases: batches, onSide }),
          ),
  };
}

async function main(): Promise<void> {
  const startedMs = performance.now();
  const textCases = wanted(benchCases(options.quick));
  const spokenCases = wanted(voiceCases(options.quick));
  const batches = wanted(batchCases(options.quick));
  if (textCases.length + spokenCases.length + batches.length === 0) {
    throw new Error(`No case is named like ${options.case.join(' or ')}.`);
  }
  const scratchFolder = mkdtempSync(join(tmpdir(), 'antiphon-bench-'));
  const upstream = fork(new URL('./upstream.ts', import.meta.url));
  const stop = async (): Promise<void> => {
    await stopSides();
    if (upstream.connected) upstream.disconnect();
    rmSync(scratchFolder, { recursive: true, force: true });
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void stop().then(() => process.exit(130)));
  }
  try {
    const { port } = await messageOf<{ port: number }>(upstream, 'upstream');
    const start = { upstreamPort: port, scratchFolder };
    report(await bench(start, { textCases, spokenCases, batches }), startedMs);
  } finally {
    await stop();
  }
}

await main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
