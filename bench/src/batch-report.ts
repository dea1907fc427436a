import { BATCH_AIMS } from './batch-cases.ts';
import type { BatchCaseResult } from './batch-plan.ts';
import { median } from './statistics.ts';
import { markdownTable, ms, times } from './tables.ts';

const MB = 1024 * 1024;

export const BATCH_SUMMARY_HEAD = [
  'case',
  'bare loop',
  'antiphon',
  `time ratio <= ${BATCH_AIMS.timeRatio}`,
  'first audio, idle p50',
  'beside the batch p50',
  `ratio <= ${BATCH_AIMS.firstAudioRatio}`,
];

const seconds = (valueMs: number): string => `${(valueMs / 1000).toFixed(1)} s`;
const verdict = (ratio: number, aim: number): string =>
  `${times(ratio)} ${ratio <= aim ? 'yes' : 'MISSED'}`;

/** The summary: one row per case. */
export function batchSummaryRow(result: BatchCaseResult): string[] {
  const { batch, bareMsPerLine, idleFirstAudioMs, besideFirstAudioMs } = result;
  const perSecond = (msPerLine: number): string => `${(1000 / msPerLine).toFixed(1)}/s`;
  const msPerLine = batch.elapsedMs / batch.lines;
  const [idle, beside] = [median(idleFirstAudioMs), median(besideFirstAudioMs)];
  return [
    result.title,
    `${bareMsPerLine.map(perSecond).join(', ')} (${result.threads} threads)`,
    `${seconds(batch.elapsedMs)}, ${perSecond(msPerLine)}`,
    verdict(msPerLine / median(bareMsPerLine), BATCH_AIMS.timeRatio),
    ms(idle),
    ms(beside),
    verdict(beside / idle, BATCH_AIMS.firstAudioRatio),
  ];
}

/** What each process took for the batch. */
export function batchProcessRows({ batch }: BatchCaseResult): string[][] {
  return [
    ['process', 'peak memory', 'CPU', 'CPU per line'],
    ...Object.entries(batch.peakBytes).map(([name, bytes]) => [
      name,
      `${(bytes / MB).toFixed(0)} MB`,
      seconds(batch.cpuMs[name] ?? 0),
      ms((batch.cpuMs[name] ?? 0) / batch.lines),
    ]),
  ];
}

const HOW_TO_READ = `A batch of speech lines (\`POST /v1/batches\`, wav) over gateway, tts-worker with the engine \`flite\`, an idle
llm-worker and Redis, timed from its creation to its last file; every line was there once, with sound. The bare
loop calls the same engine in one process with as many threads on every fifth of the same sentences and
throws the sound away, once before and once after the batch; the ratio is of the times of a line, to the
median of both. *First audio*: a request for
speech by one client, again and again, to its first byte of sound, beside a batch, and on the idle stack before
and after all of it.`;

/** The section on batches of \`bench/results.md\`. */
export function batchSection(results: BatchCaseResult[]): string {
  const details = results.map(
    (result) =>
      `### ${result.title} (\`${result.name}\`)\n\n${markdownTable(batchProcessRows(result))}\n`,
  );
  return [
    '## Batches\n',
    markdownTable([BATCH_SUMMARY_HEAD, ...results.map(batchSummaryRow)]),
    `\n${HOW_TO_READ}\n`,
    ...details,
  ].join('\n');
}
