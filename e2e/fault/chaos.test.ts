import { expectUnbroken } from '@antiphon/testing/invariant';
import { expect, it } from 'vitest';
import { KINDS, planChaos } from '../chaos/plan.ts';
import { runChaos, startChaosStack } from '../chaos/run-chaos.ts';
import { measured } from './fault-stack.ts';

const SECONDS = 20;

it('a seed is a plan: the same one every time, and each kind of fault in it', () => {
  expect(planChaos(1, 60)).toEqual(planChaos(1, 60));
  expect(planChaos(1, 60).slice(0, 5)).toEqual(planChaos(1, 30).slice(0, 5));
  expect(planChaos(2, 60)).not.toEqual(planChaos(1, 60));
  const kinds = new Set(planChaos(1, 300).map(({ kind }) => kind));
  expect([...kinds].toSorted()).toEqual([...KINDS].toSorted());
  for (const { atMs } of planChaos(3, 60)) expect(atMs).toBeLessThan(60_000);
});

it('chaos: whatever happens, every stream keeps its promise', async () => {
  const { streams, ends, violations, hung, doneShare } = await runChaos(await startChaosStack(), {
    ...{ seed: 1, seconds: SECONDS, streamsPerSecond: 10 },
  });
  const told = Object.entries(ends).map(([end, count]) => `${count} ${end}`);
  measured(
    'chaos',
    `${streams} streams in ${SECONDS} s: ${violations.length} violations, ${hung} hung, ${(doneShare * 100).toFixed(1)} % of those begun done (${told.join(', ')})`,
  );
  expectUnbroken(violations);
  expectUnbroken(hung === 0 ? [] : [`${hung} streams hung`]);
}, 180_000);
