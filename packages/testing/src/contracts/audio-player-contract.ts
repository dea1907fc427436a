import { readFileSync, readdirSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { AudioPlayer, Playback } from '@antiphon/shared/services/audio-player';
import { PATIENCE, until } from '../until.ts';

export interface AudioPlayerContract {
  create: () => Promise<AudioPlayer>;
  audible: boolean;
}

const SAMPLE_RATE_HZ = 24_000;

/** 440 Hz: s16le mono at 24 kHz. */
function tone(seconds: number): Uint8Array {
  const samples = Int16Array.from({ length: seconds * SAMPLE_RATE_HZ }, (_, index) =>
    Math.round(8000 * Math.sin((2 * Math.PI * 440 * index) / SAMPLE_RATE_HZ)),
  );
  return new Uint8Array(samples.buffer);
}

/** Process ids of what this process has started. */
export function childPids(): number[] {
  const list = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8');
  return list.split(' ').filter(Boolean).map(Number);
}

/** The code of the error that a call ends with; `fulfilled` without one. */
async function codeOf(call: Promise<unknown>): Promise<string> {
  return call.then(
    () => 'fulfilled',
    (error: unknown) => (error instanceof VoiceError ? error.code : String(error)),
  );
}

/** The rules of `AudioPlayer`, for any player. */
export function describeAudioPlayerContract(name: string, contract: AudioPlayerContract): void {
  describe(`${name} keeps the player's contract`, { timeout: 20_000 * PATIENCE }, () => {
    let player: AudioPlayer;
    let count = 0;
    const play = (on = player): Promise<Playback> => {
      count += 1;
      return on.play({ streamId: `stream-${count}`, sampleRateHz: SAMPLE_RATE_HZ });
    };
    beforeAll(async () => {
      player = await contract.create();
    }, 20_000 * PATIENCE);
    afterAll(() => player.close());

    test('says whether anything is heard', () => {
      expect(player.audible).toBe(contract.audible);
    });

    test('plays what is written, piece by piece', async () => {
      const playback = await play();
      for (let piece = 0; piece < 5; piece += 1) await playback.write(tone(0.1));
      await playback.end();
      await playback.end();
      expect(await codeOf(playback.write(tone(0.1)))).toBe('player_failed');
    });

    test('plays pieces that are written without waiting', async () => {
      const playback = await play();
      const writes = [0.1, 0.05, 0.2].map((seconds) => playback.write(tone(seconds)));
      const outcomes = await Promise.all([...writes, playback.end()].map(codeOf));
      expect(outcomes).toEqual(['fulfilled', 'fulfilled', 'fulfilled', 'fulfilled']);
    });

    test('ends without a single sample', async () => {
      const playback = await play();
      await playback.write(new Uint8Array(0));
      expect(await codeOf(playback.end())).toBe('fulfilled');
    });

    test('plays several at once', async () => {
      const outcomes = await Promise.all(
        [1, 2, 3].map(async () => {
          const playback = await play();
          await playback.write(tone(0.3));
          return codeOf(playback.end());
        }),
      );
      expect(outcomes).toEqual(['fulfilled', 'fulfilled', 'fulfilled']);
    });

    test('takes no more after a stop; a second stop is harmless', async () => {
      const playback = await play();
      await playback.write(tone(0.2));
      await Promise.all([playback.stop(), playback.stop()]);
      await playback.stop();
      expect(await codeOf(playback.write(tone(0.1)))).toBe('player_failed');
      expect(await codeOf(playback.end())).toBe('player_failed');
    });

    test('does not keep a write waiting after a stop', async () => {
      const playback = await play();
      const write = codeOf(playback.write(tone(60)));
      await playback.stop();
      expect(['player_failed', 'fulfilled']).toContain(await write);
    });

    test('stops before anything was written, and after the end', async () => {
      const unused = await play();
      expect(await codeOf(unused.stop())).toBe('fulfilled');
      const ended = await play();
      await ended.write(tone(0.1));
      await ended.end();
      expect(await codeOf(ended.stop())).toBe('fulfilled');
    });

    test('stops one and lets its neighbour play on', async () => {
      const [stopped, neighbour] = await Promise.all([play(), play()]);
      await Promise.all([stopped.write(tone(0.5)), neighbour.write(tone(0.5))]);
      await stopped.stop();
      await neighbour.write(tone(0.1));
      expect(await codeOf(neighbour.end())).toBe('fulfilled');
    });

    test('close stops all, twice is harmless, and nothing is left open', async () => {
      const filesBefore = readdirSync('/proc/self/fd').length;
      const childrenBefore = childPids().length;
      const own = await contract.create();
      const ended = await play(own);
      await ended.write(tone(0.1));
      await ended.end();
      const playbacks = await Promise.all([play(own), play(own)]);
      for (const playback of playbacks) await playback.write(tone(0.5));
      const late = play(own).then((playback) => playback.end());
      await Promise.all([own.close(), own.close(), codeOf(late)]);
      await own.close();
      for (const playback of playbacks) {
        expect(await codeOf(playback.write(tone(0.1)))).toBe('player_failed');
        expect(await codeOf(playback.stop())).toBe('fulfilled');
      }
      expect(await codeOf(play(own))).toBe('server_shutting_down');
      await until(() => readdirSync('/proc/self/fd').length <= filesBefore, {
        what: 'files closed',
      });
      expect(childPids().length).toBeLessThanOrEqual(childrenBefore);
    });
  });
}
