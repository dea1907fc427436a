import { expect, test } from 'vitest';
import { benchCases } from './cases.ts';
import { SUMMARY_HEAD, resultsMarkdown, roundRows, summaryRow } from './report.ts';
import type { CaseResult, Figures } from './rounds.ts';
import { markdownTable, plainTable } from './tables.ts';

const FIGURES: Figures = {
  firstTokenP50Ms: 1,
  firstTokenP99Ms: 2,
  tokenLatencyP50Ms: 0.25,
  tokenLatencyP99Ms: 0.5,
  longestPauseMs: 21,
  streams: 30,
  tokensPerSecond: 1234.5,
  cpuMicrosecondsPerToken: 80,
  cores: { gateway: 0.5, redis: 0.125 },
};

function resultOf(name: string): CaseResult {
  return {
    benchCase: benchCases(true).find((benchCase) => benchCase.name === name)!,
    rounds: [
      {
        order: ['portkey', 'direct', 'antiphon'],
        figures: {
          direct: FIGURES,
          antiphon: { ...FIGURES, firstTokenP50Ms: 6, tokensPerSecond: 3000 },
          portkey: { ...FIGURES, firstTokenP50Ms: 26, tokensPerSecond: 2000 },
        },
      },
    ],
  };
}

test('a summary row holds the aim against what was reached', () => {
  expect(summaryRow(resultOf('first-token-1'))).toEqual([
    'First token, 1 stream',
    '1.00 ms (p99 2.00 ms)',
    '+5.00 ms (p99 2.00 ms)',
    '+25.0 ms (p99 2.00 ms)',
    '0.20 (0.20)',
    '<= 4 ms added',
    '5.00 ms MISSED',
  ]);
  expect(summaryRow(resultOf('first-token-200')).slice(-3)).toEqual([
    '0.20 (0.20)',
    "<= 0.4 x portkey's",
    '0.20 yes',
  ]);
  expect(summaryRow(resultOf('flood-1')).slice(1)).toEqual([
    '1,235/s',
    '3,000/s',
    '2,000/s',
    '1.50 (1.50)',
    ">= 2 x portkey's",
    '1.50 MISSED',
  ]);
});

test('rounds are listed in the order in which the sides ran', () => {
  const rows = roundRows(resultOf('first-token-1'));
  expect(rows.slice(1).map((row) => row.slice(0, 4))).toEqual([
    ['1', 'portkey', '26.0 ms', '25.0 ms'],
    ['1', 'direct', '1.00 ms', '-'],
    ['1', 'antiphon', '6.00 ms', '5.00 ms'],
  ]);
  expect(rows[1]?.at(-1)).toBe('gateway 0.50, redis 0.13');
});

test('tables have a cell for each column', () => {
  const rows = [SUMMARY_HEAD, summaryRow(resultOf('flood-8'))];
  expect(markdownTable(rows).split('\n')[1]).toBe(`|${' --- |'.repeat(SUMMARY_HEAD.length)}`);
  expect(
    plainTable([
      ['a', 'b'],
      ['long', 'c'],
    ]),
  ).toBe('a     b\nlong  c');
});

test('the results file names what was run, and where', () => {
  const run = { date: '2026-11-21', command: 'npm run bench', machine: 'M', versions: 'V' };
  const text = resultsMarkdown(
    { ...run, minutes: 6.25 },
    { text: [resultOf('flood-1')], voices: [], batches: [] },
  );
  expect(text).toContain('- Date: 2026-11-21 (6.3 minutes)\n- Command: `npm run bench`\n');
  expect(text).toContain('| Flood, 1 stream | 1,235/s | 3,000/s | 2,000/s |');
  expect(text).toContain('## Flood, 1 stream (`flood-1`)');
  expect(text).toContain('## Voice');
});
