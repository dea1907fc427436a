import type { BenchCase } from './cases.ts';
import type { LoadOrder, LoadPlan, LoadReply, LoadResult } from './load-plan.ts';
import type { Side, SideName } from './sides.ts';
import { quantile, rotated } from './statistics.ts';

/** What one side did in one round. Times in milliseconds. */
export interface Figures {
  firstTokenP50Ms: number;
  firstTokenP99Ms: number;
  /** Token written by the upstream → read by the client. */
  tokenLatencyP50Ms: number;
  tokenLatencyP99Ms: number;
  longestPauseMs: number;
  streams: number;
  /** NaN where the pace is the upstream's. */
  tokensPerSecond: number;
  /** CPU time of the side's programs by the tokens that went through. */
  cpuMicrosecondsPerToken: number;
  /** Share of a core that each program of the side used. */
  cores: Record<string, number>;
}

export interface Round {
  /** In the order in which they ran. */
  order: SideName[];
  figures: Partial<Record<SideName, Figures>>;
}

export interface CaseResult {
  benchCase: BenchCase;
  rounds: Round[];
}

/** Has the load client run an order; rejects if a stream was broken. */
export type RunLoad = (order: LoadOrder) => Promise<LoadReply>;

async function load(runLoad: RunLoad, side: Side, plan: LoadPlan): Promise<LoadResult> {
  const reply = await runLoad({ target: side.target, plan });
  if ('result' in reply) return reply.result;
  const words = side.programs.map((program) => program.lastWords).join('\n');
  throw new Error(`${side.name}: ${reply.failure}\n${words}`);
}

async function measure(runLoad: RunLoad, side: Side, plan: LoadPlan): Promise<Figures> {
  const before = side.programs.map((program) => program.cpuMs);
  const startMs = performance.now();
  const result = await load(runLoad, side, plan);
  const elapsedMs = performance.now() - startMs;
  const cpuMs = side.programs.map((program, index) => program.cpuMs - before[index]!);
  const cores = side.programs.map(({ name }, index) => [name, cpuMs[index]! / elapsedMs]);
  return {
    firstTokenP50Ms: quantile(result.firstTokenMs, 0.5),
    firstTokenP99Ms: quantile(result.firstTokenMs, 0.99),
    tokenLatencyP50Ms: quantile(result.tokenLatencyMs, 0.5),
    tokenLatencyP99Ms: quantile(result.tokenLatencyMs, 0.99),
    longestPauseMs: result.longestPauseMs,
    streams: result.streams,
    tokensPerSecond:
      plan.script.tokensPerSecond > 0 ? Number.NaN : (result.tokens / result.elapsedMs) * 1e3,
    cpuMicrosecondsPerToken: (cpuMs.reduce((sum, ms) => sum + ms, 0) / result.allTokens) * 1e3,
    cores: Object.fromEntries(cores),
  };
}

/** Lets each side do everything once, unmeasured. */
export async function warmUp(runLoad: RunLoad, sides: Side[], plans: LoadPlan[]): Promise<void> {
  for (const side of sides) for (const plan of plans) await load(runLoad, side, plan);
}

/** Runs a case in alternating rounds; the order turns from round to round. */
export async function runCase(
  runLoad: RunLoad,
  sides: Side[],
  benchCase: BenchCase,
): Promise<CaseResult> {
  const rounds: Round[] = [];
  for (let index = 0; index < benchCase.rounds; index += 1) {
    const order = rotated(sides, index);
    const round: Round = { order: order.map((side) => side.name), figures: {} };
    for (const side of order) {
      round.figures[side.name] = await measure(runLoad, side, benchCase.plan);
    }
    rounds.push(round);
  }
  return { benchCase, rounds };
}
