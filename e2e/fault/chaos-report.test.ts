import { spokenPcm } from '@antiphon/testing/openai-server/speech';
import { describe, expect, it } from 'vitest';
import { type Asked, SENTENCES, TOKENS, reportOf } from '../chaos/report.ts';
import type { SeenAnswer } from './seen-answer.ts';

const whole: SeenAnswer = {
  ...{ status: 200, streamId: 's', retryAfter: undefined, body: '', transcript: '' },
  contents: Array.from({ length: TOKENS }, (_, index) => `t${index} `),
  ...{ finishReasons: ['stop'], ends: ['done'], errorCodes: [], phraseErrors: [], fragments: [] },
  ...{ framesAfterEnd: 0, durationMs: 10, longestPauseMs: 1 },
};
const answered = (change: Partial<SeenAnswer> = {}): Asked => ({
  spoken: false,
  answer: { ...whole, ...change },
  endedAtMs: 1000,
});
const cut = { contents: ['t0 '], finishReasons: [] };
const broken = answered({ ...cut, ends: ['broken'] });
/** As a tts-worker ends what the engine broke off: in 2.5 ms from the last sample to zero. */
function fading(pcm: Buffer): Buffer {
  const last = pcm.readInt16LE(pcm.length - 2);
  const fade = Int16Array.from({ length: 60 }, (_, index) => last * (1 - (index + 1) / 60));
  return Buffer.concat([pcm, new Uint8Array(fade.buffer)]);
}
const found = (...asked: Asked[]) => reportOf(asked, []).violations;

describe('a report of chaos', () => {
  it('finds nothing in streams that end well or by an error', () => {
    expect(found(answered(), answered({ ...cut, ends: ['error:x'] }))).toEqual([]);
  });

  it('lets sockets break while there is no gateway, and never else', () => {
    const asked = [answered(), broken];
    expect(reportOf(asked, [{ fromMs: 900, toMs: 1100 }]).violations).toEqual([]);
    expect(reportOf(asked, [{ fromMs: 1100, toMs: 1200 }]).violations).toHaveLength(1);
    expect(found(...asked)).toHaveLength(1);
    const spoken = { ...broken, spoken: true };
    expect(found(answered(), spoken)).toHaveLength(1);
  });

  it('knows a first word for the sentence that it begins', () => {
    const [first = '', second = ''] = SENTENCES;
    const heardOf = (...texts: string[]) => {
      const sound = texts.flatMap((text) => [fading(spokenPcm(text)), Buffer.alloc(12_000)]);
      const fragments = [Buffer.concat(sound).toString('base64')];
      return { ...answered({ ...cut, ends: ['error:x'], fragments }), spoken: true };
    };
    for (const word of ['This', 'This sentence', 'This sentence is'])
      expect(found(answered(), heardOf(first, word))).toEqual([]);
    expect(found(answered(), heardOf(first, second, 'The'))).toEqual([]);
    expect(found(answered(), heardOf(first, 'Good'))).toHaveLength(1);
    expect(found(answered(), heardOf(first, second, first))).toHaveLength(1);
  });

  it('takes no internal error for an end', () => {
    const refused = answered({ ...cut, contents: [], status: 500, ends: ['error:internal_error'] });
    expect(found(answered(), refused)).toHaveLength(1);
  });

  it('wants some of the streams to end well', () => {
    const failed = answered({ ...cut, ends: ['error:x'] });
    expect(found(failed, failed)).toHaveLength(1);
    expect(found(answered({ ...cut, status: 503, ends: ['error:x'] }))).toHaveLength(1);
    expect(found()).toHaveLength(1);
  });
});
