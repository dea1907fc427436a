/**
 * Measures antiphon beside the upstream alone and beside a peer on the same stack.
 *
 *   npm run bench                        all cases; writes bench/results.md
 *   npm run bench -- --quick             under 90 s, writes nothing
 *   npm run bench -- --case flood        only cases whose name contains this
 *   npm run bench -- --profile           CPU profiles of antiphon's processes, top functions printed
 *   npm run bench -- --without portkey   leaves a side out
 */
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { WARM_UP, benchCases } from './cases.ts';
import { monotonicMs } from './clock.ts';
import { functionTimes } from './cpu-profile.ts';
import type { CpuProfile, FunctionTime } from './cpu-profile.ts';
import type { LoadReply } from './load-plan.ts';
import { machineDescription, versionsDescription } from './machine.ts';
import { SUMMARY_HEAD, plainTable, resultsMarkdown, roundRows, summaryRow } from './report.ts';
import { runCase, warmUp } from './rounds.ts';
import type { CaseResult, RunLoad } from './rounds.ts';
import { directSide, startAntiphon, startPortkey, stopSide } from './sides.ts';
import type { Side, StartOptions } from './sides.ts';

const RESULTS_FILE = join(import.meta.dirname, '..', 'results.md');
const PROFILE_FOLDER = join(import.meta.dirname, '..', '..', '.data', 'bench-profile');
const TOP_FUNCTIONS = 25;

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    profile: { type: 'boolean', default: false },
    case: { type: 'string', multiple: true, default: [] },
    without: { type: 'string', multiple: true, default: [] },
  },
});

/** The next message of a child of ours; rejects if it ends instead. */
async function messageOf<T>(child: ChildProcess, name: string): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const onMessage = (message: unknown): void => resolve(message as T);
  const onExit = (): void => reject(new Error(`The ${name} ended by itself.`));
  child.once('message', onMessage).once('exit', onExit);
  try {
    return await promise;
  } finally {
    child.off('message', onMessage).off('exit', onExit);
  }
}

function loadRunner(client: ChildProcess): RunLoad {
  return (order) => {
    client.send(order);
    return messageOf<LoadReply>(client, 'load client');
  };
}

async function startSides(start: StartOptions, sides: Side[]): Promise<void> {
  sides.push(directSide(start));
  if (!options.without.includes('antiphon')) sides.push(await startAntiphon(start));
  if (!options.without.includes('portkey')) sides.push(await startPortkey(start));
}

function printProfiles(fromMs: number): void {
  for (const name of ['gateway', 'llm-worker']) {
    const file = join(PROFILE_FOLDER, `${name}.cpuprofile`);
    if (!existsSync(file)) {
      console.log(`\n${name} left no profile.`);
      continue;
    }
    const times = functionTimes(JSON.parse(readFileSync(file, 'utf8')) as CpuProfile, fromMs);
    const table = (share: (time: FunctionTime) => number): string =>
      times
        .toSorted((a, b) => share(b) - share(a))
        .slice(0, TOP_FUNCTIONS)
        .map((time) => `${(share(time) * 100).toFixed(1).padStart(6)} %  ${time.where}`)
        .join('\n');
    console.log(`\n${name}, spent in the function itself, of the time not idle`);
    console.log(table((time) => time.selfShare));
    console.log(`\n${name}, with what it called`);
    console.log(table((time) => (time.where.includes('node:') ? 0 : time.totalShare)));
  }
  console.log(`\nProfiles: ${PROFILE_FOLDER}`);
}

/** What else the machine was doing: figures of a busy machine are worth little. */
const LOAD_BEFORE = loadavg()[0]!;

function report(results: CaseResult[], startedMs: number): void {
  console.log(`\n${plainTable([SUMMARY_HEAD, ...results.map(summaryRow)])}`);
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

/** When warming up was over: what came before is no part of a profile. */
let measuringFromMs = 0;

async function bench(runLoad: RunLoad, sides: Side[]): Promise<CaseResult[]> {
  const cases = benchCases(options.quick).filter(
    ({ name }) => options.case.length === 0 || options.case.some((part) => name.includes(part)),
  );
  if (cases.length === 0) throw new Error(`No case is named like ${options.case.join(' or ')}.`);
  console.error('Warming up…');
  await warmUp(runLoad, sides, WARM_UP);
  measuringFromMs = monotonicMs();
  const results: CaseResult[] = [];
  for (const benchCase of cases) {
    console.error(`${benchCase.title}: ${benchCase.rounds} rounds…`);
    const result = await runCase(runLoad, sides, benchCase);
    console.log(`\n${benchCase.title}\n${plainTable(roundRows(result))}`);
    results.push(result);
  }
  return results;
}

async function main(): Promise<void> {
  const startedMs = performance.now();
  const scratchFolder = mkdtempSync(join(tmpdir(), 'antiphon-bench-'));
  const upstream = fork(new URL('./upstream.ts', import.meta.url));
  const client = fork(new URL('./load-client.ts', import.meta.url), { serialization: 'advanced' });
  const sides: Side[] = [];
  const stop = async (): Promise<void> => {
    await Promise.all(sides.map(stopSide));
    for (const child of [upstream, client]) if (child.connected) child.disconnect();
    rmSync(scratchFolder, { recursive: true, force: true });
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void stop().then(() => process.exit(130)));
  }
  try {
    const { port } = await messageOf<{ port: number }>(upstream, 'upstream');
    const start: StartOptions = { upstreamPort: port, scratchFolder };
    if (options.profile) {
      rmSync(PROFILE_FOLDER, { recursive: true, force: true });
      mkdirSync(PROFILE_FOLDER, { recursive: true });
      start.profileFolder = PROFILE_FOLDER;
    }
    await startSides(start, sides);
    const results = await bench(loadRunner(client), sides);
    report(results, startedMs);
  } finally {
    await stop();
  }
  if (options.profile) printProfiles(measuringFromMs);
}

await main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
