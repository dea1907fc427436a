export const KINDS = [
  'kill',
  'freeze',
  'reset',
  'blackhole',
  'cut-subscribers',
  'kill-redis',
] as const;
const TARGETS = ['gateway', 'llm-0', 'llm-1', 'tts-0', 'tts-1'] as const;

export type Target = (typeof TARGETS)[number];

/** One fault: what, to whom, when it begins and how long it lasts. */
export interface PlannedFault {
  atMs: number;
  kind: (typeof KINDS)[number];
  /** Nobody in particular: faults of Redis. */
  target: Target | 'redis';
  /** Until it is over; of a `kill`, until the process is started again. */
  forMs: number;
}

/** How long each may last; behind 4 s without Redis or network most streams end by their deadline. */
const LASTS_MS: Record<PlannedFault['kind'], [least: number, most: number]> = {
  kill: [100, 1500],
  freeze: [200, 4000],
  reset: [0, 0],
  blackhole: [500, 5000],
  'cut-subscribers': [0, 0],
  'kill-redis': [100, 3000],
};
const PAUSE_MS: [least: number, most: number] = [400, 2000];

/** Mulberry32: small, and the same on every machine. Gives numbers from 0 to below 1. */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** The faults of one run, in order. The same seed gives the same ones; a longer run begins with those of a shorter one. */
export function planChaos(seed: number, seconds: number): PlannedFault[] {
  const random = seeded(seed);
  const between = ([least, most]: [number, number]) =>
    Math.round(least + random() * (most - least));
  const pick = <T>(from: readonly T[]) => from[Math.floor(random() * from.length)] as T;
  const plan: PlannedFault[] = [];
  for (let atMs = between(PAUSE_MS); atMs < seconds * 1000; atMs += between(PAUSE_MS)) {
    const kind = pick(KINDS);
    const target = pick(TARGETS);
    const isRedis = kind === 'cut-subscribers' || kind === 'kill-redis';
    plan.push({ atMs, kind, target: isRedis ? 'redis' : target, forMs: between(LASTS_MS[kind]) });
  }
  return plan;
}

export const describeFault = ({ atMs, kind, target, forMs }: PlannedFault): string =>
  `${(atMs / 1000).toFixed(1).padStart(6)} s  ${kind} ${target}${forMs > 0 ? ` for ${forMs} ms` : ''}`;
