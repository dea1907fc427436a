import { expect, test } from 'vitest';
import { BYTES_PER_SECOND, createPauseInsertion } from './pause-insertion.ts';

const PAUSE_SECONDS = 0.8;
const EDGE_SECONDS = 0.3;

/** A tone with gaps of 0.3 s of near silence at the given seconds. */
function toneWithGaps(seconds: number, gapsAtSeconds: number[]): Buffer {
  const pcm = Buffer.alloc(seconds * BYTES_PER_SECOND);
  for (let at = 0; at < pcm.length; at += 2) {
    const second = at / BYTES_PER_SECOND;
    const quiet = gapsAtSeconds.some((gap) => second >= gap && second < gap + 0.3);
    pcm.writeInt16LE(Math.round((quiet ? 30 : 9000) * Math.sin(at / 20)), at);
  }
  return pcm;
}

async function padded(pcm: Buffer, chunkBytes: number) {
  async function* chunks() {
    for (let at = 0; at < pcm.length; at += chunkBytes) yield pcm.subarray(at, at + chunkBytes);
  }
  const pauses = createPauseInsertion();
  const pieces: Uint8Array[] = [];
  for await (const piece of pauses.audio(chunks())) pieces.push(piece);
  const all = Buffer.concat(pieces);
  const edge = Buffer.alloc(EDGE_SECONDS * BYTES_PER_SECOND);
  expect(all.subarray(0, edge.length).equals(edge)).toBe(true);
  expect(all.subarray(-edge.length).equals(edge)).toBe(true);
  return { pauses, bytes: all.subarray(edge.length, -edge.length) };
}

test('a recording of under 20 s passes between two silences, also an empty one', async () => {
  const pcm = toneWithGaps(19, [5, 12]);
  const { bytes, pauses } = await padded(pcm, 4096);
  expect(bytes.equals(pcm)).toBe(true);
  expect(pauses.originalSeconds(0.1)).toBe(0);
  expect(pauses.originalSeconds(5 + EDGE_SECONDS)).toBeCloseTo(5, 6);
  expect(pauses.originalSeconds(19.5)).toBe(19);
  expect((await padded(Buffer.alloc(0), 4096)).bytes.length).toBe(0);
});

test('a pause goes where it is quietest between 10 and 20 s after the last', async () => {
  const pcm = toneWithGaps(45, [4, 13, 25, 28, 44]);
  const { pauses, bytes } = await padded(pcm, 4096);
  expect(bytes.length - pcm.length).toBe(2 * PAUSE_SECONDS * BYTES_PER_SECOND);
  const [first, second] = [13.15, 25.15];
  const at = bytes.indexOf(Buffer.alloc(PAUSE_SECONDS * BYTES_PER_SECOND)) / BYTES_PER_SECOND;
  expect(Math.abs(at - first)).toBeLessThan(0.1);
  const original = (seconds: number) => pauses.originalSeconds(seconds + EDGE_SECONDS);
  expect(original(12)).toBeCloseTo(12, 6);
  expect(original(at + 0.4)).toBeCloseTo(at, 2);
  expect(original(20 + PAUSE_SECONDS)).toBeCloseTo(20, 6);
  expect(Math.abs(original(second + PAUSE_SECONDS + 0.4) - second)).toBeLessThan(0.1);
  expect(original(40 + 2 * PAUSE_SECONDS)).toBeCloseTo(40, 6);
  expect(pauses.durationSeconds).toBe(45);
});

test('the same comes out however the recording was cut, samples split too', async () => {
  const pcm = toneWithGaps(45, [13, 29, 33]);
  const expected = (await padded(pcm, pcm.length)).bytes;
  for (const chunkBytes of [777, 4097, 320_001]) {
    expect((await padded(pcm, chunkBytes)).bytes.equals(expected)).toBe(true);
  }
});

test('nothing goes more than 20 s without a pause', async () => {
  const { bytes, pauses } = await padded(toneWithGaps(61, []), 65_536);
  const pausesPut = (bytes.length / BYTES_PER_SECOND - 61) / PAUSE_SECONDS;
  expect(Math.round(pausesPut)).toBeGreaterThanOrEqual(3);
  expect(pauses.durationSeconds).toBe(61);
});
