import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { functionTimes } from './cpu-profile.ts';
import type { CpuProfile, FunctionTime } from './cpu-profile.ts';

const TOP_FUNCTIONS = 25;

/** The top functions of each program that left a profile in `folder`, since `fromMs` of the monotonic clock. */
export function profileReport(folder: string, names: string[], fromMs: number): string {
  return names.map((name) => programReport(folder, name, fromMs)).join('\n');
}

function programReport(folder: string, name: string, fromMs: number): string {
  const file = join(folder, `${name}.cpuprofile`);
  if (!existsSync(file)) return `\n${name} left no profile.`;
  const times = functionTimes(JSON.parse(readFileSync(file, 'utf8')) as CpuProfile, fromMs);
  const table = (share: (time: FunctionTime) => number): string =>
    times
      .toSorted((a, b) => share(b) - share(a))
      .slice(0, TOP_FUNCTIONS)
      .map((time) => `${(share(time) * 100).toFixed(1).padStart(6)} %  ${time.where}`)
      .join('\n');
  return [
    `\n${name}, spent in the function itself, of the time not idle`,
    table((time) => time.selfShare),
    `\n${name}, with what it called`,
    table((time) => (time.where.includes('node:') ? 0 : time.totalShare)),
  ].join('\n');
}
