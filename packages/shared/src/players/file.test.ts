import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { describeAudioPlayerContract } from '@antiphon/testing/contracts/audio-player-contract';
import { decodeToPcm } from '@antiphon/testing/decode-audio';
import type { AudioPlayer } from '../services/audio-player.ts';
import { file } from './file.ts';

const context = { concurrency: 1, warn: () => {} };
const ramp = (length: number, from = 0) =>
  Int16Array.from({ length }, (_, index) => ((from + index) % 60_000) - 30_000);
const bytesOf = (samples: Int16Array) => new Uint8Array(samples.buffer);

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'antiphon-file-player-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

describeAudioPlayerContract('file', {
  create: () => file.createFrom({ AUDIO_PLAYER_DIR: join(root, 'contract') }, context),
  audible: true,
});

let directory: string;
let player: AudioPlayer;
beforeEach(async () => {
  directory = mkdtempSync(join(root, 'played-'));
  player = await file.createFrom({ AUDIO_PLAYER_DIR: directory }, context);
});
afterEach(() => player.close());

test('writes one file per stream with exact sizes, under a temporary name until then', async () => {
  const playback = await player.play({ streamId: 's1', sampleRateHz: 16_000 });
  await playback.write(bytesOf(ramp(20_000)));
  await playback.write(bytesOf(ramp(12_345, 20_000)));
  expect(readdirSync(directory)).toEqual([expect.stringMatching(/^s1\..+\.part$/)]);
  await playback.end();
  expect(readdirSync(directory)).toEqual(['s1.wav']);
  const wav = readFileSync(join(directory, 's1.wav'));
  expect(wav.readUInt32LE(4)).toBe(wav.byteLength - 8);
  expect(wav.readUInt32LE(40)).toBe(32_345 * 2);
  expect(await decodeToPcm(wav, { sampleRateHz: 16_000 })).toEqual(ramp(32_345));
});

test('leaves a whole file of what was written before a stop', async () => {
  const playback = await player.play({ streamId: 's2', sampleRateHz: 24_000 });
  await playback.write(bytesOf(ramp(5000)));
  await playback.stop();
  const wav = readFileSync(join(directory, 's2.wav'));
  expect(wav.readUInt32LE(40)).toBe(10_000);
  expect(await decodeToPcm(wav, { sampleRateHz: 24_000 })).toEqual(ramp(5000));
});

test('can be read while it grows', async () => {
  const playback = await player.play({ streamId: 's3', sampleRateHz: 24_000 });
  await playback.write(bytesOf(ramp(5000)));
  const [part = ''] = readdirSync(directory);
  const wav = readFileSync(join(directory, part));
  expect(await decodeToPcm(wav, { sampleRateHz: 24_000 })).toEqual(ramp(5000));
  await playback.stop();
});

test('keeps streams apart and closes what is open', async () => {
  for (const [index, streamId] of ['a', 'b'].entries()) {
    const playback = await player.play({ streamId, sampleRateHz: 24_000 });
    await playback.write(bytesOf(ramp(1000 * (index + 1))));
  }
  await player.close();
  expect(readdirSync(directory).sort()).toEqual(['a.wav', 'b.wav']);
  expect(readFileSync(join(directory, 'a.wav')).readUInt32LE(40)).toBe(2000);
  expect(readFileSync(join(directory, 'b.wav')).readUInt32LE(40)).toBe(4000);
});

test.each(['../s1', 'a/b', '', 'a\0b'])('refuses the stream id %j as a name', async (streamId) => {
  await expect(player.play({ streamId, sampleRateHz: 24_000 })).rejects.toMatchObject({
    code: 'player_failed',
  });
  expect(readdirSync(directory)).toEqual([]);
});

test('says which setting is at fault when the folder is gone', async () => {
  const playback = await player.play({ streamId: 's4', sampleRateHz: 24_000 });
  rmSync(directory, { recursive: true });
  await playback.write(bytesOf(ramp(100)));
  const fault = { code: 'player_failed', message: expect.stringContaining('AUDIO_PLAYER_DIR') };
  await expect(playback.end()).rejects.toMatchObject(fault);
  await expect(player.play({ streamId: 's5', sampleRateHz: 24_000 })).rejects.toMatchObject(fault);
});

test('makes its folder, played in DATA_DIR unless told, and says when it cannot', async () => {
  const own = await file.createFrom({ DATA_DIR: directory }, context);
  const playback = await own.play({ streamId: 's6', sampleRateHz: 24_000 });
  await playback.end();
  await own.close();
  expect(readdirSync(join(directory, 'played'))).toEqual(['s6.wav']);
  writeFileSync(join(directory, 'taken'), '');
  await expect(
    file.createFrom({ AUDIO_PLAYER_DIR: join(directory, 'taken', 'x') }, context),
  ).rejects.toThrow('AUDIO_PLAYER_DIR');
});
