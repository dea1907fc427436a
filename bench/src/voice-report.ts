import { median } from './statistics.ts';
import { coreShares, markdownTable, ms, times } from './tables.ts';
import { VOICE_AIMS } from './voice-cases.ts';
import type { VoiceCaseResult, VoiceFigures, VoiceRound, VoiceSideName } from './voice-rounds.ts';
import { medianOf, voiceVerdictOf } from './voice-verdict.ts';
import type { VoiceAim } from './voice-verdict.ts';

function sideCell(result: VoiceCaseResult, side: VoiceSideName): string {
  const p50 = medianOf(result, side, 'addedP50Ms');
  const p95 = medianOf(result, side, 'addedP95Ms');
  const max = medianOf(result, side, 'addedMaxMs');
  if (p50 === undefined || p95 === undefined || max === undefined) return '-';
  return `+${ms(p50)} (p95 ${ms(p95)}, max ${ms(max)})`;
}

function perRound(values: number[], text: (value: number) => string): string {
  return values.length === 0 ? '-' : `${text(median(values))} (${values.map(text).join(' ')})`;
}

export const VOICE_SUMMARY_HEAD = [
  'case',
  'bare loop added',
  'antiphon added',
  'difference p50',
  'ratio, per round',
  `added p50 <= ${VOICE_AIMS.addedP50Ms} ms`,
  `added p95 <= ${VOICE_AIMS.addedP95Ms} ms`,
  `boundary to sound p50 <= ${VOICE_AIMS.sinceBoundaryP50Ms} ms`,
];

/** The summary: one row per case; the last three columns are the aims. */
export function voiceSummaryRow(result: VoiceCaseResult): string[] {
  const { ratios, differencesMs, reached } = voiceVerdictOf(result);
  const verdict = (aim: VoiceAim): string => {
    const held = reached[aim];
    return held ? `${ms(held.value)} ${held.met ? 'yes' : 'MISSED'}` : '-';
  };
  return [
    result.voiceCase.title,
    sideCell(result, 'bare'),
    sideCell(result, 'antiphon'),
    differencesMs.length === 0 ? '-' : ms(median(differencesMs)),
    perRound(ratios, times),
    verdict('addedP50Ms'),
    verdict('addedP95Ms'),
    verdict('sinceBoundaryP50Ms'),
  ];
}

const ROUND_HEAD = [
  'round',
  'side',
  'answers',
  'added p50',
  'p95',
  'max',
  'boundary to sound p50',
  'p95',
  'to the engine p50',
  'p95',
  'from the engine p50',
  'p95',
  'CPU per answer',
  'cores',
];

function roundRow(number: number, side: VoiceSideName, figures: VoiceFigures): string[] {
  return [
    String(number),
    side,
    String(figures.answers),
    ms(figures.addedP50Ms),
    ms(figures.addedP95Ms),
    ms(figures.addedMaxMs),
    ms(figures.sinceBoundaryP50Ms),
    ms(figures.sinceBoundaryP95Ms),
    ms(figures.toEngineP50Ms),
    ms(figures.toEngineP95Ms),
    ms(figures.fromEngineP50Ms),
    ms(figures.fromEngineP95Ms),
    side === 'bare' ? '-' : ms(figures.cpuMsPerAnswer),
    coreShares(figures.cores),
  ];
}

/** Every round of a case, in the order in which the sides ran. */
export function voiceRoundRows({ rounds }: VoiceCaseResult): string[][] {
  const rowsOf = (round: VoiceRound, index: number): string[][] =>
    round.order.flatMap((side) => {
      const figures = round.figures[side];
      return figures ? [roundRow(index + 1, side, figures)] : [];
    });
  return [ROUND_HEAD, ...rounds.flatMap(rowsOf)];
}

const HOW_TO_READ = `Chat answers with sound, streamed. The scripted upstream writes 30 tokens a second and takes 120 ms for
the speech of a phrase, then sends its sound as fast as it is taken: 2.5 times as long as the text is
written. antiphon is gateway, llm-worker, tts-worker (both with the engine \`openai\`) and Redis, each a
process. The bare loop is what one program does alone, in the client's process: model, the same splitter,
speech, the same trimmer and encoder, without queues, Redis or gateway. Every answer of both sides had its
whole transcript, all its sound to the byte, a finish reason and \`[DONE]\`.

- *Boundary*: the upstream wrote the token that lets the splitter cut the first phrase. The upstream
  stamps it, the request for the phrase's speech and its first samples with the machine's monotonic clock,
  under a marker word in the phrase; the client fetches the stamps after a plan.
- *Boundary to sound*: from there to the first byte of sound in the client.
- *Added*: that less the time which the scripted speech took (120 ms and what its timer was late).
- *To the engine*: boundary to the request for speech: model socket, splitter, log, release, queue, claim.
- *From the engine*: first samples written to first sound in the client: trimmer, log, gateway, encoder.
- *20 voices*: answers begin at random moments (Poisson, the same for both sides), so many that 20 are
  open on average. *At once*: 20 begin in one moment, so that all their boundaries fall together, too.
- The aims are held against all that antiphon adds; *difference* leaves out what the bare loop needs as well.`;

/** The section on spoken answers of `bench/results.md`. */
export function voiceSection(results: VoiceCaseResult[]): string {
  const details = results.map(
    (result) =>
      `### ${result.voiceCase.title} (\`${result.voiceCase.name}\`)\n\n${markdownTable(voiceRoundRows(result))}\n`,
  );
  return [
    '## Voice\n',
    markdownTable([VOICE_SUMMARY_HEAD, ...results.map(voiceSummaryRow)]),
    `\n${HOW_TO_READ}\n`,
    ...details,
  ].join('\n');
}
