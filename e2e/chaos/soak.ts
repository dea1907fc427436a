/**
 * Text and speech at a steady rate for long; neither the memory that a process holds may grow nor
 * what of it is resident.
 *
 *   npm run soak                                         10 minutes, at half of the capacity, which is measured first
 *   npm run soak -- --minutes 60 --streams-per-second 50
 */
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { violations } from '@antiphon/testing/invariant';
import { closeAtStop } from './close-at-stop.ts';
import { FaultStack, STREAM_MS } from '../fault/fault-stack.ts';
import { measureCapacity } from './capacity.ts';
import { ASKABLE, collectedMemory } from '../fault/process-memory.ts';
import { SPOKEN, type SeenAnswer } from '../fault/seen-answer.ts';

const MB = 1024 * 1024;
const SAMPLE_MS = 30_000;
/** Every so many streams one is spoken. */
const SPOKEN_EVERY = 5;
const TOKENS = 40;
/** The first samples are those of a process that warms up. */
const WARM_UP = 2;
const MOST_GROWN_MB = 10;
/** Of what is resident: V8 takes and gives back tens of megabytes as it likes, so that the lows count. */
const MOST_RESIDENT_MB = 20;

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    'streams-per-second': { type: 'string' },
  },
});
const totalMs = Number(values.minutes) * 60_000;

const starting = FaultStack.start({ ttsWorkers: 1, environment: ASKABLE });
closeAtStop(starting);
const faults = await starting;
const names = faults.members.map(({ process }) => process.name);
let startedAtMs = performance.now();
const counts = { streams: 0, done: 0, violations: 0 };
/** Megabytes held by each process, and resident, at each sample. */
const samples: number[][] = [];
const residents: number[][] = [];
const running = new Set<Promise<boolean>>();

function check(spoken: boolean, answer: SeenAnswer): boolean {
  const done = answer.ends.join() === 'done';
  counts.streams += 1;
  if (done) counts.done += 1;
  // What is heard of a spoken one is the fault tests' business.
  const broken = !spoken && violations(answer, { tokenCount: TOKENS, maxMs: STREAM_MS }).length > 0;
  if (broken) counts.violations += 1;
  return done && !broken;
}

async function askOne(index: number): Promise<boolean> {
  const spoken = index % SPOKEN_EVERY === 0;
  return check(spoken, await faults.chat({ body: spoken ? SPOKEN : {} }));
}

/** Half of what the stack can do, unless told. */
async function chooseRate(): Promise<number> {
  const given = values['streams-per-second'];
  if (given !== undefined) return Number(given);
  const capacity = await measureCapacity(askOne, (line) => console.log(line));
  console.log(`capacity: ${capacity.toFixed(0)} streams/s`);
  Object.assign(counts, { streams: 0, done: 0, violations: 0 });
  return capacity / 2;
}

async function sample(): Promise<void> {
  const memory = await Promise.all(faults.members.map(({ process }) => collectedMemory(process)));
  samples.push(memory.map(({ held }) => held / MB));
  residents.push(memory.map(({ resident }) => resident / MB));
  const told = memory.map(
    ({ held, resident }, at) =>
      `${names[at]} ${(held / MB).toFixed(1)} held, ${(resident / MB).toFixed(0)} resident`,
  );
  const seconds = Math.round((performance.now() - startedAtMs) / 1000);
  console.log(`${String(seconds).padStart(5)} s  ${counts.streams} streams  ${told.join('; ')}`);
}

/** By how much the lowest resident memory of the later half is above that of the earlier one. */
function residentGrowth(at: number): number {
  const all = residents.slice(Math.min(WARM_UP, residents.length - 2)).map((mb) => mb[at] ?? 0);
  const half = all.length >> 1;
  return Math.min(...all.slice(half)) - Math.min(...all.slice(0, half));
}

try {
  faults.scriptAll({ path: '/chat/completions', tokens: TOKENS, tokenDelayMs: 10 });
  const perSecond = await chooseRate();
  startedAtMs = performance.now();
  let sampledAtMs = startedAtMs;
  for (let index = 0; performance.now() - startedAtMs < totalMs; index += 1) {
    await delay(Math.max(0, startedAtMs + (index * 1000) / perSecond - performance.now()));
    const asked = askOne(index);
    running.add(asked);
    void asked.finally(() => running.delete(asked));
    if (performance.now() - sampledAtMs < SAMPLE_MS) continue;
    sampledAtMs += SAMPLE_MS;
    await sample();
  }
  await Promise.all(running);
  await sample();
  const base = samples[Math.min(WARM_UP, samples.length - 2)] ?? [];
  const grown = (samples.at(-1) ?? []).map((held, at) => held - (base[at] ?? 0));
  const resident = names.map((_, at) => residentGrowth(at));
  const told = names.map(
    (name, at) =>
      `${name} ${grown[at]?.toFixed(1)} MB held, ${resident[at]?.toFixed(0)} MB resident`,
  );
  console.log(
    `${counts.streams} streams, ${counts.done} done, ${counts.violations} violations; grown since the warm-up: ${told.join(', ')}`,
  );
  const isFlat =
    grown.every((megabytes) => megabytes < MOST_GROWN_MB) &&
    resident.every((megabytes) => megabytes < MOST_RESIDENT_MB);
  process.exitCode = isFlat && counts.violations === 0 && counts.done === counts.streams ? 0 : 1;
} finally {
  await faults.close();
}
