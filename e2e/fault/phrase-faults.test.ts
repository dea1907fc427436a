import type { Script } from '@antiphon/testing/openai-server/script';
import { expectUnbroken, endViolations, phraseViolations } from '@antiphon/testing/invariant';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { isSameTone, toneOf, tonesIn } from '../src/tones.ts';
import { FaultStack, measured, within } from './fault-stack.ts';
import { SPOKEN, type SeenAnswer } from './seen-answer.ts';

/** Whole sentences, none of which can be cut or joined to another one; each has a tone of its own. */
const SENTENCES = [
  'Good morning to all of you.',
  'This sentence is the second one of them.',
  'The third sentence is a little bit longer than that.',
  'Nobody knows what the fourth sentence is about.',
  'The last sentence but one of this answer is the fifth.',
  'And with the sixth sentence this answer is complete.',
];
const TOKENS = SENTENCES.join(' ').match(/\s*\S+/g) ?? [];
const SPEECH = '/audio/speech';
const LATE_MS = 5000;

let faults: FaultStack;

beforeAll(async () => {
  faults = await FaultStack.start({
    ttsWorkers: 2,
    // A phrase that is late is waited for, not given up.
    environment: {
      'tts-worker:UPSTREAM_IDLE_TIMEOUT_MS': String(2 * LATE_MS),
      IDLE_TIMEOUT_MS: String(2 * LATE_MS),
    },
  });
}, 60_000);
afterEach(() => faults.untilAtRest());
afterAll(() => faults?.close());

const voice = (script: Script) => faults.tts[0]?.upstream?.script({ path: SPEECH, ...script });
const isSaid = (sentence: string | undefined): Pick<Script, 'when'> => ({
  when: ({ body }) => (body as { input?: string }).input === sentence,
});
const speak = () => {
  faults.llm[0]?.upstream?.script({
    tokens: TOKENS,
    tokenDelayMs: 5,
  });
  return faults.chat({ body: SPOKEN });
};

/** The sound is that of these sentences, in this order, each once and whole. */
function expectHeard(answer: SeenAnswer, sentences: readonly string[]): void {
  const heard = tonesIn(Buffer.from(answer.fragments.join(''), 'base64'));
  const said = sentences.map(toneOf);
  const found = phraseViolations(heard, said, {
    isSame: isSameTone,
    isStart: (one, other) => Math.abs(one.hz - other.hz) < 5 && one.seconds < other.seconds,
    whole: answer.ends.includes('done'),
  });
  expectUnbroken([...found, ...endViolations(answer)]);
}

it('F17 a phrase that fails twice is left out and told, all else is said in order', async () => {
  const third = isSaid(SENTENCES[2]);
  voice({ ...third, fault: { type: 'status', status: 500, body: 'oops' } });
  const seen = await speak();
  expectHeard(
    seen,
    SENTENCES.filter((_, index) => index !== 2),
  );
  expect(seen.ends).toEqual(['done']);
  expect(seen.phraseErrors).toHaveLength(1);
  expect(seen.transcript.replace(/\s+/g, ' ').trim()).toContain(SENTENCES[5]);
});

it('F17 a phrase that fails once is said all the same', async () => {
  voice({ ...isSaid(SENTENCES[2]), times: 1, fault: { type: 'cut', by: 'rst' } });
  const seen = await speak();
  expectHeard(seen, SENTENCES);
  expect(seen.phraseErrors).toEqual([]);
});

it('F17 a phrase that comes last, and 5 s late, keeps its place', async () => {
  voice({ ...isSaid(SENTENCES[2]), headerDelayMs: LATE_MS });
  const seen = await speak();
  expectHeard(seen, SENTENCES);
  expect(seen.durationMs).toBeGreaterThan(LATE_MS);
  expect(seen.ends).toEqual(['done']);
});

it('F17 a voice that dies in the middle of a phrase: another one ends it or the phrase is told', async () => {
  voice({ tokenDelayMs: 30 });
  faults.llm[0]?.upstream?.script({ tokens: TOKENS });
  let killed: Promise<void> | undefined;
  const answer = faults.chat({
    body: SPOKEN,
    onOutput: ({ fragments }) => {
      if (fragments.length < 3 || killed) return;
      killed = (async () => {
        const [victim] = faults.tts;
        if (!victim) return;
        await faults.end(victim, 'SIGKILL');
        faults.tts[0] = faults.restart(victim);
        await faults.untilReady(faults.tts[0]);
      })();
    },
  });
  const seen = await answer;
  expect(killed).toBeDefined();
  await killed;
  expectUnbroken(endViolations(seen));
  expect(seen.ends).toEqual(['done']);
  const heard = tonesIn(Buffer.from(seen.fragments.join(''), 'base64'));
  const expected = SENTENCES.map(toneOf);
  // Each tone once, in order; those of phrases that were cut may be short or left out.
  let last = -1;
  for (const { hz } of heard) {
    const index = expected.findIndex((one) => Math.abs(one.hz - hz) < 5);
    expect(index).toBeGreaterThan(last);
    last = index;
  }
  measured(
    'F17',
    `a killed voice: ${heard.length} of 6 phrases heard, ${seen.phraseErrors.length} told as cut`,
  );
  expect(heard.length + seen.phraseErrors.length).toBeGreaterThanOrEqual(SENTENCES.length);
  expect(seen.durationMs).toBeLessThan(within(30_000));
});
