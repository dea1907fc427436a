import { endViolations, violations } from '@antiphon/testing/invariant';
import { PATIENCE } from '@antiphon/testing/until';
import { STREAM_MS } from '../fault/fault-stack.ts';
import type { SeenAnswer } from '../fault/seen-answer.ts';
import { isToneOf, type Tone, toneOf, tonesIn } from '../src/tones.ts';

export const TOKENS = 60;
export const SENTENCES = [
  'Good morning to all of you.',
  'This sentence is the second one of them.',
  'The third sentence is a little bit longer than that.',
];
/** A piece shorter than this, of a phrase that was cut, has too few waves to tell whose it is. */
const SHORTEST_SECONDS = 0.05;
/** How long after a gateway was frozen, or came back, its sockets may break. */
const ECHO_MS = 1000;
/** Of the streams that began, so many end well whatever happens, or nothing was put to the test. */
const LEAST_DONE_SHARE = 0.25;

export interface ChaosReport {
  streams: number;
  /** How many ended how. */
  ends: Record<string, number>;
  violations: string[];
  hung: number;
  /** Of those that were accepted; NaN: none was. */
  doneShare: number;
}

export interface Asked {
  spoken: boolean;
  answer: SeenAnswer;
  /** `performance.now()` at its end. */
  endedAtMs: number;
}

/** A time in which there was no gateway, or one that stood still; `performance.now()`. */
export interface Gone {
  fromMs: number;
  toMs: number;
}

/** What became of the streams, and what of it breaks the promise. */
export function reportOf(asked: readonly Asked[], gone: readonly Gone[]): ChaosReport {
  const ends: Record<string, number> = {};
  const found: string[] = [];
  for (const [index, { spoken, answer, endedAtMs }] of asked.entries()) {
    const end = answer.status === 0 ? 'no gateway' : answer.ends.join(' + ');
    ends[end] = (ends[end] ?? 0) + 1;
    const mayBreak = gone.some(
      ({ fromMs, toMs }) => endedAtMs >= fromMs && endedAtMs <= toMs + ECHO_MS * PATIENCE,
    );
    const broken = spoken
      ? spokenViolations(answer, mayBreak)
      : violations(answer, { tokenCount: TOKENS, maxMs: STREAM_MS, mayBreak });
    found.push(...broken.map((one) => `stream ${index} (${answer.streamId}): ${one}`));
  }
  const accepted = asked.filter(({ answer: { status } }) => status === 200);
  const doneShare =
    accepted.filter(({ answer }) => answer.ends.includes('done')).length / accepted.length;
  // Of none the share is NaN, which is no more than the least either.
  if (!(doneShare >= LEAST_DONE_SHARE))
    found.push(`${(doneShare * 100).toFixed(1)} % of ${accepted.length} begun streams done`);
  return {
    ...{ streams: asked.length, ends, violations: found, doneShare },
    hung: asked.filter(({ answer: { durationMs } }) => durationMs > STREAM_MS).length,
  };
}

/** What may be heard of a sentence: all of it, or, of a text that broke off, its first words. */
const startsOf = (sentence: string): Tone[] => {
  const words = sentence.split(' ');
  return words.map((_, index) => toneOf(words.slice(0, words.length - index).join(' ')));
};
const SAID = SENTENCES.flatMap((sentence, index) =>
  startsOf(sentence).map((tone) => ({ tone, index })),
);

/** Which sentence is heard, the one whose tone is nearest; -1: none. */
function sentenceOf(heard: Tone): number {
  const distance = ({ tone }: { tone: Tone }) => Math.abs(tone.hz - heard.hz);
  const near = SAID.filter(({ tone }) => isToneOf(heard, tone));
  return near.toSorted((one, other) => distance(one) - distance(other))[0]?.index ?? -1;
}

/** Each phrase is heard once, in order; at a good end all are, but for those told as failed. */
function spokenViolations(answer: SeenAnswer, mayBreak: boolean): string[] {
  const found = endViolations(answer, { mayBreak });
  let last = -1;
  let count = 0;
  for (const tone of tonesIn(Buffer.from(answer.fragments.join(''), 'base64'))) {
    if (tone.seconds < SHORTEST_SECONDS) continue;
    const index = sentenceOf(tone);
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
