import { setTimeout as delay } from 'node:timers/promises';
import { endViolations, violations } from '@antiphon/testing/invariant';
import { isToneOf, type Tone, toneOf, tonesIn } from '../src/tones.ts';
import { FaultStack, type Member, STREAM_MS } from '../fault/fault-stack.ts';
import { PROMPT_CANARY, SPOKEN, type SeenAnswer } from '../fault/seen-answer.ts';
import { type PlannedFault, planChaos, type Target } from './plan.ts';

const TOKENS = 60;
/** Every so many streams one is spoken. */
const SPOKEN_EVERY = 5;
const SENTENCES = [
  'Good morning to all of you.',
  'This sentence is the second one of them.',
  'The third sentence is a little bit longer than that.',
];
/** A piece shorter than this, of a phrase that was cut, has too few waves to tell whose it is. */
const SHORTEST_SECONDS = 0.05;
const SPOKEN_WORD = 'speak';
/** A stream that has not ended by then hangs. */
const HANG_MS = STREAM_MS + 5000;

export interface ChaosReport {
  streams: number;
  /** How many ended how. */
  ends: Record<string, number>;
  violations: string[];
  hung: number;
  /** Of those that were accepted. */
  doneShare: number;
}

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
    await happening;
    const report = reportOf(answers);
    report.violations.push(...(await afterwards(faults)));
    return report;
  } finally {
    await faults.close();
  }
}

interface Asked {
  spoken: boolean;
  answer: SeenAnswer;
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
    asked.push(answer.then((seen) => ({ spoken, answer: seen })));
  }
  return Promise.all(asked);
}

/** Lets the faults happen at their times, each beside the others. */
async function happen(faults: FaultStack, plan: PlannedFault[]): Promise<void> {
  const busy = new Map<string, Promise<void>>();
  const startedAtMs = performance.now();
  for (const fault of plan) {
    await delay(Math.max(0, startedAtMs + fault.atMs - performance.now()));
    // Two faults of one process come one after the other: the second one finds it alive.
    const before = busy.get(fault.target) ?? Promise.resolve();
    busy.set(
      fault.target,
      before.then(() => inflict(faults, fault)),
    );
  }
  await Promise.all(busy.values());
}

async function inflict(faults: FaultStack, { kind, target, forMs }: PlannedFault): Promise<void> {
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

function reportOf(asked: Asked[]): ChaosReport {
  const ends: Record<string, number> = {};
  const found: string[] = [];
  for (const [index, { spoken, answer }] of asked.entries()) {
    // Nothing listened, or the queue did not: the client was told so at once.
    const wasRefused = answer.status === 0 || answer.errorCodes.includes('queue_unavailable');
    const end = answer.status === 0 ? 'no gateway' : answer.ends.join(' + ');
    ends[end] = (ends[end] ?? 0) + 1;
    const broken = spoken
      ? spokenViolations(answer)
      : violations(answer, { tokenCount: TOKENS, maxMs: STREAM_MS });
    if (!wasRefused || broken.length > 0)
      found.push(...broken.map((one) => `stream ${index} (${answer.streamId}): ${one}`));
  }
  const accepted = asked.filter(({ answer: { status } }) => status === 200);
  return {
    streams: asked.length,
    ends,
    violations: found,
    hung: asked.filter(({ answer: { durationMs } }) => durationMs > STREAM_MS).length,
    doneShare:
      accepted.filter(({ answer }) => answer.ends.includes('done')).length / accepted.length,
  };
}

/** What may be heard of a sentence: all of it, or, of a text that broke off, its first words. */
const startsOf = (sentence: string): Tone[] => {
  const words = sentence.split(' ');
  return words.map((_, index) => toneOf(words.slice(0, words.length - index).join(' ')));
};
const SAID = SENTENCES.map(startsOf);

/** Each phrase is heard once, in order; at a good end all are, but for those told as failed. */
function spokenViolations(answer: SeenAnswer): string[] {
  const found = endViolations(answer);
  let last = -1;
  let count = 0;
  for (const tone of tonesIn(Buffer.from(answer.fragments.join(''), 'base64'))) {
    if (tone.seconds < SHORTEST_SECONDS) continue;
    const index = SAID.findIndex((starts) => starts.some((one) => isToneOf(tone, one)));
    if (index <= last)
      found.push(
        `phrase ${index} (${tone.hz.toFixed(0)} Hz for ${tone.seconds} s) is heard behind phrase ${last}`,
      );
    last = Math.max(last, index);
    count += 1;
  }
  if (answer.ends.includes('done') && count + answer.phraseErrors.length < SENTENCES.length)
    found.push(`${count} of ${SENTENCES.length} phrases behind a good end`);
  if (answer.durationMs > STREAM_MS) found.push(`took ${Math.round(answer.durationMs)} ms`);
  return found;
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
