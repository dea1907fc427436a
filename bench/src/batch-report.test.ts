import { expect, it } from 'vitest';
import type { BatchCaseResult } from './batch-plan.ts';
import { batchProcessRows, batchSummaryRow } from './batch-report.ts';

const RESULT: BatchCaseResult = {
  ...{ title: 'Batch', name: 'batch', threads: 2, bareMsPerLine: [90, 110] },
  batch: {
    ...{ lines: 1000, elapsedMs: 112_000 },
    ...{ peakBytes: { redis: 2 * 1024 * 1024 }, cpuMs: { redis: 500 } },
  },
  ...{ idleFirstAudioMs: [10, 20, 30], besideFirstAudioMs: [20, 25, 40] },
};

it('holds the batch against the bare loop, and who waits beside it against the idle stack', () => {
  expect(batchSummaryRow(RESULT).slice(1)).toEqual([
    '11.1/s, 9.1/s (2 threads)',
    '112.0 s, 8.9/s',
    '1.12 MISSED',
    '20.0 ms',
    '25.0 ms',
    '1.25 yes',
  ]);
});

it('tells what each process took', () => {
  expect(batchProcessRows(RESULT)[1]).toEqual(['redis', '2 MB', '0.5 s', '0.50 ms']);
});
