/**
 * Streams under random faults; every stream must keep its promise.
 *
 *   npm run chaos                                  a seed by the clock, 60 s
 *   npm run chaos -- --seed 7 --seconds 60         the same faults at the same times, every time
 *   npm run chaos -- --streams-per-second 20
 *   npm run chaos -- --seed 7 --plan               prints the plan alone
 */
import { parseArgs } from 'node:util';
import { closeAtStop } from './close-at-stop.ts';
import { describeFault, planChaos } from './plan.ts';
import { runChaos, startChaosStack } from './run-chaos.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Date.now() % 100_000) },
    seconds: { type: 'string', default: '60' },
    'streams-per-second': { type: 'string', default: '10' },
    plan: { type: 'boolean', default: false },
  },
});
const [seed, seconds] = [Number(values.seed), Number(values.seconds)];
const streamsPerSecond = Number(values['streams-per-second']);

console.log(`seed ${seed}, ${seconds} s, ${streamsPerSecond} streams a second`);
for (const fault of planChaos(seed, seconds)) console.log(describeFault(fault));
if (!values.plan) {
  const starting = startChaosStack();
  closeAtStop(starting);
  const { streams, ends, violations, hung, doneShare } = await runChaos(await starting, {
    ...{ seed, seconds, streamsPerSecond },
  });
  for (const violation of violations) console.log(`VIOLATION ${violation}`);
  for (const [end, count] of Object.entries(ends))
    console.log(`${String(count).padStart(6)}  ${end}`);
  console.log(
    `${streams} streams: ${violations.length} violations, ${hung} hung; ${(doneShare * 100).toFixed(1)} % of those begun ended done`,
  );
  // A socket of a process that was killed behind a dead network may still be waited for.
  process.exit(violations.length + hung > 0 ? 1 : 0);
}
