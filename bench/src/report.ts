import type { BatchCaseResult } from './batch-plan.ts';
import { batchSection } from './batch-report.ts';
import type { Aim } from './cases.ts';
import type { CaseResult, Figures, Round } from './rounds.ts';
import type { SideName } from './sides.ts';
import { median } from './statistics.ts';
import { coreShares, markdownTable, ms, rate, times } from './tables.ts';
import { addedFirstTokenMs, verdictOf } from './verdict.ts';
import { voiceSection } from './voice-report.ts';
import type { VoiceCaseResult } from './voice-rounds.ts';

const SIDES: readonly SideName[] = ['direct', 'antiphon', 'portkey'];

function aimText(aim: Aim): string {
  if (aim.of === 'added') return `<= ${aim.atMostMs} ms added`;
  return 'atMost' in aim ? `<= ${aim.atMost} x portkey's` : `>= ${aim.atLeast} x portkey's`;
}

/** One side in the summary: the median over the rounds, and the p99 or what it adds beside it. */
function summaryCell(result: CaseResult, side: SideName): string {
  const figures = result.rounds.flatMap((round) => round.figures[side] ?? []);
  if (figures.length === 0) return '-';
  if (result.benchCase.figure === 'throughput') {
    return rate(median(figures.map((figure) => figure.tokensPerSecond)));
  }
  const added = result.rounds.flatMap((round) => addedFirstTokenMs(round, side) ?? []);
  const p99 = ms(median(figures.map((figure) => figure.firstTokenP99Ms)));
  if (added.length === 0) {
    return `${ms(median(figures.map((figure) => figure.firstTokenP50Ms)))} (p99 ${p99})`;
  }
  return `+${ms(median(added))} (p99 ${p99})`;
}

export const SUMMARY_HEAD = ['case', ...SIDES, 'ratio, per round', 'aim', 'reached'];

/** The summary: one row per case. Times of the gateways are what they add to direct. */
export function summaryRow(result: CaseResult): string[] {
  const { ratios, reached } = verdictOf(result);
  const { aim, title } = result.benchCase;
  const value = (reachedValue: number): string =>
    aim?.of === 'added' ? ms(reachedValue) : times(reachedValue);
  return [
    title,
    ...SIDES.map((side) => summaryCell(result, side)),
    ratios.length > 0 ? `${times(median(ratios))} (${ratios.map(times).join(' ')})` : '-',
    aim ? aimText(aim) : '-',
    reached ? `${value(reached.value)} ${reached.met ? 'yes' : 'MISSED'}` : '-',
  ];
}

const ROUND_HEAD = [
  'round',
  'side',
  'first token p50',
  'added',
  'first token p99',
  'token latency p50',
  'p99',
  'longest pause',
  'streams',
  'tokens',
  'CPU per token',
  'cores',
];

function roundRow(round: Round, number: number, side: SideName, figures: Figures): string[] {
  const added = addedFirstTokenMs(round, side);
  return [
    String(number),
    side,
    ms(figures.firstTokenP50Ms),
    added === undefined ? '-' : ms(added),
    ms(figures.firstTokenP99Ms),
    ms(figures.tokenLatencyP50Ms),
    ms(figures.tokenLatencyP99Ms),
    ms(figures.longestPauseMs),
    String(figures.streams),
    Number.isNaN(figures.tokensPerSecond) ? '-' : rate(figures.tokensPerSecond),
    side === 'direct' ? '-' : `${figures.cpuMicrosecondsPerToken.toFixed(0)} us`,
    coreShares(figures.cores),
  ];
}

/** Every round of a case, in the order in which the sides ran. */
export function roundRows({ rounds }: CaseResult): string[][] {
  const rows = rounds.flatMap((round, index) =>
    round.order.flatMap((side) => {
      const figures = round.figures[side];
      return figures ? [roundRow(round, index + 1, side, figures)] : [];
    }),
  );
  return [ROUND_HEAD, ...rows];
}

/** Of all parts of the bench; empty where one did not run. */
export interface BenchResults {
  text: CaseResult[];
  voices: VoiceCaseResult[];
  batches: BatchCaseResult[];
}

export interface RunDescription {
  date: string;
  command: string;
  machine: string;
  versions: string;
  minutes: number;
}

const HOW_TO_READ = `One scripted upstream numbers and stamps every token; one load client runs the same work through
the upstream directly, through antiphon (gateway, llm-worker and Redis, each a process, Redis with
AOF as \`npm start\` runs it; log and fence on) and through \`@portkey-ai/gateway\`, in rounds of one run
whose order turns. Every stream of every side had all its tokens, in order, a finish reason and \`[DONE]\`;
otherwise there would be no figures. Upstream, client and gateways share the machine.

- *First token*: request sent to first token read. *Added*: that p50 less direct's of the same round.
- *Token latency*: token written by the upstream to token read by the client.
- *Ratio*: antiphon's figure by Portkey's of the same round (added first token, or tokens per second).
  The median over the rounds is held against the aim.
- *Streams kept going*: each stream has 50 tokens a second and is replaced as it ends, starts are spread
  evenly. *At once*: all start in one moment.
- *CPU per token*, *cores*: CPU time of the side's processes (Redis included) in that measurement, by
  the tokens that went through and by its length. The first is steady on a busy machine, too.
- Portkey 1.15.2 holds the first frame of every stream for 25 ms (a timer in its own code).`;

/** The text of \`bench/results.md\`. */
export function resultsMarkdown(
  run: RunDescription,
  { text: results, voices, batches }: BenchResults,
): string {
  const details = results.map(
    (result) =>
      `## ${result.benchCase.title} (\`${result.benchCase.name}\`)\n\n${markdownTable(roundRows(result))}\n`,
  );
  return [
    '# Bench\n',
    `- Date: ${run.date} (${run.minutes.toFixed(1)} minutes)`,
    `- Command: \`${run.command}\``,
    `- Machine: ${run.machine}`,
    `- Versions: ${run.versions}\n`,
    markdownTable([SUMMARY_HEAD, ...results.map(summaryRow)]),
    `\n${HOW_TO_READ}\n`,
    ...details,
    voiceSection(voices),
    batchSection(batches),
  ].join('\n');
}
