import { setTimeout as delay } from 'node:timers/promises';
import { FaultStack, type Member, STREAM_MS } from '../fault/fault-stack.ts';
import { PROMPT_CANARY, SPOKEN } from '../fault/seen-answer.ts';
import { type PlannedFault, planChaos, type Target } from './plan.ts';
import { type Asked, type ChaosReport, type Gone, reportOf, SENTENCES, TOKENS } from './report.ts';

/** Every so many streams one is spoken. */
const SPOKEN_EVERY = 5;
const SPOKEN_WORD = 'speak';
/** A stream that has not ended by then hangs. */
const HANG_MS = STREAM_MS + 5000;

export interface ChaosOptions {
  seed: number;
  seconds: number;
  streamsPerSecond: number;
}

/** The stack that the plans speak of. */
export const startChaosStack = (): Promise<FaultStack> =>
  FaultStack.start({ llmWorkers: 2, ttsWorkers: 2, proxied: true });

/** Streams of text and speech in steady number while the planned faults happen, until all is over. */
export async function runChaos(
  faults: FaultStack,
  { seed, seconds, streamsPerSecond }: ChaosOptions,
): Promise<ChaosReport> {
  try {
    faults.scriptAll({ path: '/chat/completions', tokens: TOKENS, tokenDelayMs: 20 });
    faults.scriptAll({
      path: '/chat/completions',
      when: ({ rawBody }) => rawBody.includes(`${PROMPT_CANARY} ${SPOKEN_WORD}`),
      tokens: SENTENCES.join(' ').match(/\s*\S+/g) ?? [],
      tokenDelayMs: 20,
    });
    faults.scriptAll({ path: '/audio/speech', tokenDelayMs: 10 });
    const happening = happen(faults, planChaos(seed, seconds));
    const answers = await askSteadily(faults, seconds * streamsPerSecond, streamsPerSecond);
    const report = reportOf(answers, await happening);
    report.violations.push(...(await afterwards(faults)));
    return report;
  } finally {
    await faults.close();
  }
}

async function askSteadily(faults: FaultStack, count: number, perSecond: number): Promise<Asked[]> {
  const asked: Promise<Asked>[] = [];
  const startedAtMs = performance.now();
  for (let index = 0; index < count; index += 1) {
    await delay(Math.max(0, startedAtMs + (index * 1000) / perSecond - performance.now()));
    const spoken = index % SPOKEN_EVERY === SPOKEN_EVERY - 1;
    const messages = [{ role: 'user', content: `${PROMPT_CANARY} ${SPOKEN_WORD}` }];
    const body = spoken ? { ...SPOKEN, messages } : {};
    const answer = faults.chat({ body, signal: AbortSignal.timeout(HANG_MS) });
    asked.push(answer.then((seen) => ({ spoken, answer: seen, endedAtMs: performance.now() })));
  }
  return Promise.all(asked);
}

/** Lets the faults happen at their times, each beside the others. Resolves with when no gateway could speak. */
async function happen(faults: FaultStack, plan: PlannedFault[]): Promise<Gone[]> {
  const gone: Gone[] = [];
  const busy = new Map<string, Promise<void>>();
  const startedAtMs = performance.now();
  for (const fault of plan) {
    await delay(Math.max(0, startedAtMs + fault.atMs - performance.now()));
    // Two faults of one process come one after the other: the second one finds it alive.
    const before = busy.get(fault.target) ?? Promise.resolve();
    busy.set(
      fault.target,
      before.then(() => inflict(faults, fault, gone)),
    );
  }
  await Promise.all(busy.values());
  return gone;
}

async function inflict(faults: FaultStack, fault: PlannedFault, gone: Gone[]): Promise<void> {
  const { kind, target, forMs } = fault;
  const fromMs = performance.now();
  if (kind === 'cut-subscribers') {
    await faults.redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub').catch(() => undefined); // Redis is away
    return;
  }
  if (kind === 'kill-redis') {
    await faults.stack.redis.kill();
    await delay(forMs);
    await faults.stack.redis.restart();
    return;
  }
  const member = memberOf(faults, target as Target);
  if (kind === 'reset') member.proxy?.resetAll();
  if (kind === 'blackhole') {
    member.proxy?.setMode({ type: 'blackhole' });
    await delay(forMs);
    member.proxy?.setMode({ type: 'pass' });
  }
  if (kind === 'freeze') {
    member.process.child.kill('SIGSTOP');
    await delay(forMs);
    member.process.child.kill('SIGCONT');
  }
  if (kind === 'kill') {
    await faults.end(member, 'SIGKILL');
    await delay(forMs);
    replace(faults, target as Target, await faults.revive(member));
  }
  if (target === 'gateway' && (kind === 'kill' || kind === 'freeze'))
    gone.push({ fromMs, toMs: performance.now() });
}

function memberOf(faults: FaultStack, target: Target): Member {
  const [stage, number] = target.split('-', 2);
  if (stage === 'gateway') return faults.gateway;
  return (stage === 'llm' ? faults.llm : faults.tts)[Number(number)] as Member;
}

function replace(faults: FaultStack, target: Target, member: Member): void {
  const [stage, number] = target.split('-', 2);
  if (stage === 'gateway') faults.gateway = member;
  else (stage === 'llm' ? faults.llm : faults.tts)[Number(number)] = member;
}

/** When all faults are over the system is whole again, and nothing is left of them. */
async function afterwards(faults: FaultStack): Promise<string[]> {
  try {
    await faults.untilAtRest();
    for (let attempt = 1; ; attempt += 1) {
      const { ends } = await faults.chat();
      if (ends.includes('done')) return [];
      if (attempt === 10) return [`does not answer afterwards: ${ends.join(', ')}`];
      await delay(1000);
    }
  } catch (error) {
    return [`afterwards: ${(error as Error).message}`];
  }
}
