import { expect, test } from 'vitest';
import { voiceCases } from './voice-cases.ts';
import {
  VOICE_SUMMARY_HEAD,
  voiceRoundRows,
  voiceSection,
  voiceSummaryRow,
} from './voice-report.ts';
import type { VoiceCaseResult, VoiceFigures, VoiceRound } from './voice-rounds.ts';
import { voiceVerdictOf } from './voice-verdict.ts';

function figures(addedP50Ms: number, addedP95Ms = 2 * addedP50Ms): VoiceFigures {
  return {
    answers: 220,
    addedP50Ms,
    addedP95Ms,
    addedMaxMs: 100,
    sinceBoundaryP50Ms: 120 + addedP50Ms,
    sinceBoundaryP95Ms: 120 + addedP95Ms,
    toEngineP50Ms: 1,
    toEngineP95Ms: 2,
    fromEngineP50Ms: 3,
    fromEngineP95Ms: 4,
    cpuMsPerAnswer: 30,
    cores: { redis: 0.125, gateway: 0.5 },
  };
}

function resultOf(rounds: VoiceRound['figures'][]): VoiceCaseResult {
  const voiceCase = voiceCases(true)[0]!;
  return {
    voiceCase,
    rounds: rounds.map((round) => ({ order: ['antiphon', 'bare'], figures: round })),
  };
}

test('the peer is compared within a round, and the medians of the rounds decide', () => {
  const rounds = [
    { bare: figures(1), antiphon: figures(9, 41) },
    { bare: figures(2), antiphon: figures(16, 39) },
    { bare: figures(8), antiphon: figures(14, 90) },
  ];
  expect(voiceVerdictOf(resultOf(rounds))).toEqual({
    ratios: [9, 8, 1.75],
    differencesMs: [8, 14, 6],
    reached: {
      addedP50Ms: { value: 14, met: true },
      addedP95Ms: { value: 41, met: false },
      sinceBoundaryP50Ms: { value: 134, met: true },
    },
  });
});

test('a summary row holds each aim against what was reached', () => {
  const result = resultOf([{ bare: figures(2), antiphon: figures(16) }]);
  expect(voiceSummaryRow(result)).toEqual([
    '20 voices, pcm16',
    '+2.00 ms (p95 4.00 ms, max 100.0 ms)',
    '+16.0 ms (p95 32.0 ms, max 100.0 ms)',
    '14.0 ms',
    '8.00 (8.00)',
    '16.0 ms MISSED',
    '32.0 ms yes',
    '136.0 ms yes',
  ]);
  expect(voiceSummaryRow(resultOf([{ bare: figures(2) }])).slice(2)).toEqual([
    '-',
    '-',
    '-',
    '-',
    '-',
    '-',
  ]);
});

test('rounds are listed in the order in which the sides ran, in a section of their own', () => {
  const result = resultOf([{ bare: figures(2), antiphon: figures(16) }]);
  const rows = voiceRoundRows(result);
  expect(rows.slice(1).map((row) => row.slice(0, 4))).toEqual([
    ['1', 'antiphon', '220', '16.0 ms'],
    ['1', 'bare', '220', '2.00 ms'],
  ]);
  expect(rows.every((row) => row.length === rows[0]?.length)).toBe(true);
  expect(rows[1]?.at(-1)).toBe('redis 0.13, gateway 0.50');
  const text = voiceSection([result]);
  expect(text).toContain(`## Voice\n\n| ${VOICE_SUMMARY_HEAD.join(' | ')} |`);
  expect(text).toContain('### 20 voices, pcm16 (`voice-20-pcm16`)');
});
