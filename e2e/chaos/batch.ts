/**
 * A batch of speech while gateway, workers and Redis are killed outright, one every few seconds.
 *
 *   npm run chaos:batch                      5,000 lines
 *   npm run chaos:batch -- --lines 500
 */
import { parseArgs } from 'node:util';
import { runBatchChaos, startBatchStack } from './batch-chaos.ts';
import { closeAtStop } from './close-at-stop.ts';

const { values } = parseArgs({ options: { lines: { type: 'string', default: '5000' } } });
const lines = Number(values.lines);
const starting = startBatchStack();
closeAtStop(starting);
const report = await runBatchChaos(await starting, {
  lines,
  withinMs: 120_000 + lines * 400,
  tell: (line) => console.log(line),
});
for (const violation of report.violations.slice(0, 20)) console.log(`VIOLATION ${violation}`);
const { status, counts, killed, violations, seconds } = report;
const kills = Object.entries(killed).map(([name, count]) => `${name} ${count} times`);
console.log(
  `${status} in ${seconds.toFixed(0)} s: ${counts.completed} of ${lines} done, ${counts.failed} failed, ${violations.length} violations; killed ${kills.join(', ')}`,
);
process.exit(status === 'completed' && violations.length === 0 ? 0 : 1);
