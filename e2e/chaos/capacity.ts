import { setTimeout as delay } from 'node:timers/promises';

const STEP_MS = 10_000;
const FIRST_PER_SECOND = 20;
/** Each step asks for so many times the last one's. */
const STEP_FACTOR = 1.25;
/** With so many times the streams open that an idle stack would have, they come faster than they end. */
const MOST_BEHIND = 2;
const MOST_PER_SECOND = 1000;

/** One stream; resolves with whether it ended as it should. */
export type AskOne = (index: number) => Promise<boolean>;

/**
 * The highest number of streams a second that a stack answers without falling behind: steps of
 * 10 s, each a quarter above the last, until streams fail or pile up. `tell` is given a line a step.
 */
export async function measureCapacity(
  askOne: AskOne,
  tell: (line: string) => void,
): Promise<number> {
  let capacity = 0;
  let idleMs: number | undefined;
  let rate = FIRST_PER_SECOND;
  while (rate <= MOST_PER_SECOND) {
    const step = await runStep(askOne, rate);
    idleMs ??= step.medianMs;
    const expected = (rate * idleMs) / 1000;
    const kept = step.failed === 0 && step.openAtEnd <= expected * MOST_BEHIND;
    tell(
      `${rate.toFixed(0)} streams/s: median ${step.medianMs.toFixed(0)} ms, ${step.openAtEnd} open at the end (idle: ${expected.toFixed(0)}), ${step.failed} failed${kept ? '' : ': too many'}`,
    );
    if (!kept) break;
    capacity = rate;
    rate *= STEP_FACTOR;
  }
  return capacity;
}

async function runStep(askOne: AskOne, perSecond: number) {
  const startedAtMs = performance.now();
  const durations: number[] = [];
  const asked: Promise<void>[] = [];
  let failed = 0;
  const one = async (index: number): Promise<void> => {
    const askedAtMs = performance.now();
    if (!(await askOne(index))) failed += 1;
    durations.push(performance.now() - askedAtMs);
  };
  for (let index = 0; performance.now() - startedAtMs < STEP_MS; index += 1) {
    await delay(Math.max(0, startedAtMs + (index * 1000) / perSecond - performance.now()));
    asked.push(one(index));
  }
  const openAtEnd = asked.length - durations.length;
  await Promise.all(asked);
  durations.sort((a, b) => a - b);
  return { openAtEnd, failed, medianMs: durations[durations.length >> 1] ?? 0 };
}
