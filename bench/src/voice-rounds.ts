import type { Program } from './program.ts';
import { quantile, rotated } from './statistics.ts';
import type { VoiceCase } from './voice-cases.ts';
import type { VoiceOrder, VoicePlan, VoiceReply, VoiceResult, VoiceWay } from './voice-plan.ts';

export type VoiceSideName = 'bare' | 'antiphon';

/** One way to have an answer spoken. */
export interface VoiceSide {
  name: VoiceSideName;
  way: VoiceWay;
  programs: Program[];
}

/** What one side did in one round. Times in milliseconds. */
export interface VoiceFigures {
  answers: number;
  addedP50Ms: number;
  addedP95Ms: number;
  addedMaxMs: number;
  sinceBoundaryP50Ms: number;
  sinceBoundaryP95Ms: number;
  toEngineP50Ms: number;
  toEngineP95Ms: number;
  fromEngineP50Ms: number;
  fromEngineP95Ms: number;
  /** CPU time of the side's programs by the answers. */
  cpuMsPerAnswer: number;
  /** Share of a core that each program of the side used. */
  cores: Record<string, number>;
}

export interface VoiceRound {
  /** In the order in which they ran. */
  order: VoiceSideName[];
  figures: Partial<Record<VoiceSideName, VoiceFigures>>;
}

export interface VoiceCaseResult {
  voiceCase: VoiceCase;
  rounds: VoiceRound[];
}

/** Has the client of spoken answers run a plan; rejects if an answer was not whole. */
export type RunVoices = (order: Omit<VoiceOrder, 'upstreamPort'>) => Promise<VoiceReply>;

async function speak(run: RunVoices, side: VoiceSide, plan: VoicePlan): Promise<VoiceResult> {
  const reply = await run({ way: side.way, plan });
  if ('result' in reply) return reply.result;
  const words = side.programs.map((program) => program.lastWords).join('\n');
  throw new Error(`${side.name}: ${reply.failure}\n${words}`);
}

async function measure(run: RunVoices, side: VoiceSide, plan: VoicePlan): Promise<VoiceFigures> {
  const before = side.programs.map((program) => program.cpuMs);
  const startMs = performance.now();
  const { times, allAnswers } = await speak(run, side, plan);
  const elapsedMs = performance.now() - startMs;
  const cpuMs = side.programs.map((program, index) => program.cpuMs - before[index]!);
  const added = times.map((one) => one.addedMs);
  const sinceBoundary = times.map((one) => one.sinceBoundaryMs);
  const toEngine = times.map((one) => one.toEngineMs);
  const fromEngine = times.map((one) => one.fromEngineMs);
  return {
    answers: times.length,
    addedP50Ms: quantile(added, 0.5),
    addedP95Ms: quantile(added, 0.95),
    addedMaxMs: quantile(added, 1),
    sinceBoundaryP50Ms: quantile(sinceBoundary, 0.5),
    sinceBoundaryP95Ms: quantile(sinceBoundary, 0.95),
    toEngineP50Ms: quantile(toEngine, 0.5),
    toEngineP95Ms: quantile(toEngine, 0.95),
    fromEngineP50Ms: quantile(fromEngine, 0.5),
    fromEngineP95Ms: quantile(fromEngine, 0.95),
    cpuMsPerAnswer: cpuMs.reduce((sum, ms) => sum + ms, 0) / allAnswers,
    cores: Object.fromEntries(
      side.programs.map(({ name }, index) => [name, cpuMs[index]! / elapsedMs]),
    ),
  };
}

/** Lets each side do everything once, unmeasured. */
export async function warmUpVoices(
  run: RunVoices,
  sides: VoiceSide[],
  plans: VoicePlan[],
): Promise<void> {
  for (const side of sides) for (const plan of plans) await speak(run, side, plan);
}

/** Runs a case in alternating rounds; the order turns from round to round. */
export async function runVoiceCase(
  run: RunVoices,
  sides: VoiceSide[],
  voiceCase: VoiceCase,
): Promise<VoiceCaseResult> {
  const rounds: VoiceRound[] = [];
  for (let index = 0; index < voiceCase.rounds; index += 1) {
    const order = rotated(sides, index);
    const round: VoiceRound = { order: order.map((side) => side.name), figures: {} };
    for (const side of order) {
      round.figures[side.name] = await measure(run, side, voiceCase.plan);
    }
    rounds.push(round);
  }
  return { voiceCase, rounds };
}
