import { expect, test } from 'vitest';
import { functionTimes } from './cpu-profile.ts';
import type { CpuProfile } from './cpu-profile.ts';

const frame = (functionName: string, url = '', lineNumber = -1) => ({
  functionName,
  url,
  lineNumber,
});
const APPEND = frame('append', 'file:///app/packages/shared/src/streams/stream-log.ts', 9);
const HONO = frame('', 'file:///app/node_modules/.pnpm/x/node_modules/hono/a/b.js', 0);

const PROFILE: CpuProfile = {
  nodes: [
    { id: 1, callFrame: frame('(root)'), children: [2, 3] },
    { id: 2, callFrame: frame('(idle)') },
    { id: 3, callFrame: HONO, children: [4] },
    { id: 4, callFrame: APPEND, children: [5] },
    { id: 5, callFrame: APPEND },
  ],
  startTime: 1_000_000,
  samples: [2, 4, 5, 3, 2],
  timeDeltas: [9000, 1000, 2000, 1000, 9000],
};

test('self and total times are added up per function, idle time left out', () => {
  expect(functionTimes(PROFILE)).toEqual([
    {
      ...{ where: 'append shared/src/streams/stream-log.ts:10', selfMs: 3, totalMs: 3 },
      ...{ selfShare: 0.75, totalShare: 0.75 },
    },
    {
      ...{ where: '(anonymous) hono/a/b.js:1', selfMs: 1, totalMs: 4 },
      ...{ selfShare: 0.25, totalShare: 1 },
    },
  ]);
});

test('what happened before a moment is left out', () => {
  const times = functionTimes(PROFILE, 1012.5);
  expect(times.map(({ where, selfMs }) => [where, selfMs])).toEqual([
    ['(anonymous) hono/a/b.js:1', 1],
  ]);
});
