import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  childPids,
  describeAudioPlayerContract,
} from '@antiphon/testing/contracts/audio-player-contract';
import {
  type Microphone,
  type PulseAudio,
  SPEAKER_RATE_HZ,
  hasPulseAudio,
  startPulseAudio,
} from '@antiphon/testing/pulse-audio';
import { PATIENCE, until } from '@antiphon/testing/until';
import type { AudioPlayer, Playback } from '../services/audio-player.ts';
import { speaker } from './speaker.ts';

const warnings: string[] = [];
const context = { concurrency: 1, warn: (message: string) => warnings.push(message) };
const createWith = (program: string) =>
  speaker.createFrom({ AUDIO_PLAYER_PROGRAM: program }, context);

let folder: string;
const shellEnvironment = { ...process.env };
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'antiphon-speaker-'));
});
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => {
  warnings.length = 0;
});

/** A program with a known name that does what the shell script says. */
function standIn(script: string): string {
  const path = join(mkdtempSync(join(folder, 'bin-')), 'aplay');
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
  return path;
}

/**
 * Rises from one frequency to another, so that it fits itself at one place only. 50 ms of silence
 * before it: the monitor of a null sink shows up to 10 ms less of a stream's very beginning.
 */
function chirp(fromHz: number, toHz: number, seconds = 1, rateHz = SPEAKER_RATE_HZ): Int16Array {
  const silence = rateHz / 20;
  return Int16Array.from({ length: silence + seconds * rateHz }, (_, index) => {
    const t = Math.max(0, index - silence) / rateHz;
    const turns = fromHz * t + ((toHz - fromHz) / seconds / 2) * t * t;
    return Math.round(9000 * Math.sin(2 * Math.PI * turns));
  });
}

const bytesOf = (samples: Int16Array) => new Uint8Array(samples.buffer);

/** Pieces of 100 ms, each awaited, as a stream's phrases come. */
async function writePieces(playback: Playback, sound: Int16Array): Promise<void> {
  const length = SPEAKER_RATE_HZ / 10;
  for (let at = 0; at < sound.length; at += length) {
    await playback.write(bytesOf(sound.slice(at, at + length)));
  }
}

const isSound = (sample: number) => Math.abs(sample) > 50;

/** Seconds from the first sound to the last. */
function soundingSeconds(heard: Int16Array): number {
  return (heard.findLastIndex(isSound) - heard.findIndex(isSound)) / SPEAKER_RATE_HZ;
}

const BLOCK_SAMPLES = SPEAKER_RATE_HZ / 20;

/** How much of `block` sounds at `at`: 1 is all of it at its own loudness, whatever else sounds. */
function gainAt(block: Int16Array, heard: Int16Array, at: number, step = 1): number {
  let product = 0;
  let energy = 0;
  for (let index = 0; index < block.length; index += step) {
    const sample = block[index] as number;
    product += sample * (heard[at + index] ?? 0);
    energy += sample * sample;
  }
  return product / energy;
}

const isWhole = (gain: number) => gain > 0.85 && gain < 1.15;

/**
 * The part of `sound` that was heard, in blocks of 50 ms, each after the one before. A busy machine
 * may put silence between two blocks, and break the one in whose middle it falls.
 */
function shareHeard(sound: Int16Array, heard: Int16Array): number {
  const start = sound.findIndex((sample) => sample !== 0);
  let found = 0;
  let at = 0;
  let blocks = 0;
  for (let from = start; from + BLOCK_SAMPLES <= sound.length; from += BLOCK_SAMPLES) {
    blocks += 1;
    const block = sound.subarray(from, from + BLOCK_SAMPLES);
    if (!isWhole(gainAt(block, heard, at))) {
      const place = placeOf(block, heard, at);
      if (place === undefined) continue;
      at = place;
    }
    found += 1;
    at += BLOCK_SAMPLES;
  }
  return found / blocks;
}

/** Where a block fits best, from a place on. */
function placeOf(block: Int16Array, heard: Int16Array, from: number): number | undefined {
  let best = { at: from, gain: 0 };
  for (let at = from; at + block.length <= heard.length; at += 1) {
    const gain = gainAt(block, heard, at, 7);
    if (gain > best.gain) best = { at, gain };
  }
  return isWhole(gainAt(block, heard, best.at)) ? best.at : undefined;
}

describe.skipIf(!hasPulseAudio())('at a loudspeaker', { timeout: 20_000 * PATIENCE }, () => {
  let pulse: PulseAudio;
  let microphone: Microphone;
  beforeAll(async () => {
    pulse = await startPulseAudio();
    Object.assign(process.env, pulse.environment);
    microphone = await pulse.listen();
  });
  beforeEach(() => microphone.forget());
  afterAll(async () => {
    await microphone.close();
    await pulse.close();
    for (const name of Object.keys(pulse.environment)) {
      if (shellEnvironment[name] === undefined) delete process.env[name];
      else process.env[name] = shellEnvironment[name];
    }
  });

  /** What is heard within half a second from now, and everything before. */
  const heardSoon = async (): Promise<Int16Array> => {
    const enough = microphone.samples().length + SPEAKER_RATE_HZ / 2;
    await until(() => microphone.samples().length >= enough, { what: 'half a second' });
    return microphone.samples();
  };

  describeAudioPlayerContract('speaker', { create: () => createWith('aplay'), audible: true });

  describe.each(['aplay', 'pacat', 'ffplay'])('%s', (program) => {
    let player: AudioPlayer;
    let before: number[];
    beforeAll(async () => {
      before = childPids();
      player = await createWith(program);
    });
    afterAll(async () => {
      await player.close();
      await until(() => childPids().length === before.length, { what: 'no player is left' });
    });
    const play = (sampleRateHz = SPEAKER_RATE_HZ) => player.play({ streamId: 's', sampleRateHz });

    test('plays all that is written, once and in its own time', async () => {
      expect(warnings).toEqual([]);
      const sound = chirp(300, 3000, 1.5);
      const playback = await play();
      await writePieces(playback, sound);
      await playback.end();
      const atEnd = microphone.samples().length;
      const heard = await heardSoon();
      expect(shareHeard(sound, heard)).toBeGreaterThan(0.9);
      expect(soundingSeconds(heard)).toBeGreaterThan(1.49);
      expect(soundingSeconds(heard)).toBeLessThan(1.5 + 0.2 * PATIENCE);
      // `end` had waited for the last sample; the microphone is a little behind.
      const earlySeconds = (heard.findLastIndex(isSound) - atEnd) / SPEAKER_RATE_HZ;
      expect(earlySeconds).toBeLessThan(0.05 * PATIENCE);
    });

    test('plays at the rate that was asked for', async () => {
      const playback = await play(16_000);
      await playback.write(bytesOf(chirp(300, 3000, 1, 16_000)));
      await playback.end();
      const heard = await heardSoon();
      expect(shareHeard(chirp(300, 3000), heard)).toBeGreaterThan(0.9);
    });

    test('plays two at once, both whole', async () => {
      const sounds = [chirp(300, 1500), chirp(4000, 2000)];
      await Promise.all(
        sounds.map(async (sound) => {
          const playback = await play();
          await writePieces(playback, sound);
          await playback.end();
        }),
      );
      const heard = await heardSoon();
      for (const sound of sounds) {
        expect(shareHeard(sound, heard)).toBeGreaterThan(0.9);
      }
      expect(soundingSeconds(heard)).toBeLessThan(1.9); // one after the other: 2.05
    });

    test('is silent at once after a stop', async () => {
      const playback = await play();
      const written = playback
        .write(bytesOf(chirp(300, 3000, 10)))
        .catch((error: unknown) => error);
      await until(() => soundingSeconds(microphone.samples()) > 0.5, { what: 'half a second' });
      const atStop = microphone.samples().length;
      await playback.stop();
      const heard = await heardSoon();
      const silentAfterMs = ((heard.findLastIndex(isSound) - atStop) / SPEAKER_RATE_HZ) * 1000;
      expect(silentAfterMs).toBeLessThan(100 * PATIENCE);
      expect(await written).toMatchObject({ code: 'player_failed' });
    });
  });

  describe('a playback', () => {
    let player: AudioPlayer;
    let before: number[];
    beforeAll(async () => {
      before = childPids();
      player = await createWith('aplay');
    });
    afterAll(() => player.close());
    const play = () => player.play({ streamId: 's', sampleRateHz: SPEAKER_RATE_HZ });
    /** The process that plays. */
    const playingPid = (): number => childPids().find((pid) => !before.includes(pid)) ?? 0;

    test('goes on after a pause without a loss', async () => {
      const playback = await play();
      const [first, second] = [chirp(300, 1500, 0.5), chirp(4000, 2000, 0.5)];
      await playback.write(bytesOf(first));
      await until(async () => soundingSeconds(microphone.samples()) > 0.3, { what: 'sound' });
      await heardSoon();
      await playback.write(bytesOf(second));
      await playback.end();
      const heard = await heardSoon();
      expect(shareHeard(first, heard)).toBeGreaterThan(0.9);
      expect(shareHeard(second, heard)).toBeGreaterThan(0.9);
    });

    test('takes no more than about a second ahead of what is heard', async () => {
      const playback = await play();
      const startedAtMs = performance.now();
      await writePieces(playback, chirp(300, 3000, 2.5));
      expect(performance.now() - startedAtMs).toBeGreaterThan(1500);
      await playback.stop();
      expect(soundingSeconds(await heardSoon())).toBeGreaterThan(1);
    });

    test('fails when the program dies, and names it', async () => {
      const playback = await play();
      const pid = playingPid();
      const ended = playback
        .write(bytesOf(chirp(300, 3000, 5)))
        .then(() => playback.end())
        .catch((error: unknown) => error);
      await until(() => soundingSeconds(microphone.samples()) > 0.2, { what: 'sound' });
      process.kill(pid, 'SIGKILL');
      const fault = { code: 'player_failed', message: expect.stringContaining('aplay ended') };
      expect(await ended).toMatchObject(fault);
      await expect(playback.write(new Uint8Array(2))).rejects.toMatchObject(fault);
      const next = await play();
      await next.write(bytesOf(chirp(300, 3000, 0.2)));
      await expect(next.end()).resolves.toBeUndefined();
    });

    test('gives a program up that hangs', async () => {
      const playback = await play();
      const pid = playingPid();
      await playback.write(bytesOf(chirp(300, 3000, 0.2)));
      process.kill(pid, 'SIGSTOP');
      await expect(playback.end()).rejects.toMatchObject({
        code: 'player_failed',
        message: expect.stringMatching(/took no more sound for 5 s/),
      });
    });
  });

  test('chooses a program by itself', async () => {
    const player = await speaker.createFrom({}, context);
    expect(warnings).toEqual([]);
    const playback = await player.play({ streamId: 's', sampleRateHz: SPEAKER_RATE_HZ });
    await playback.write(bytesOf(chirp(300, 3000, 0.2)));
    await expect(playback.end()).resolves.toBeUndefined();
    await player.close();
  });

  test('has no sound device yet: starts with a warning, says why, plays when there is one', async () => {
    process.env['PULSE_SERVER'] = `unix:${join(folder, 'nowhere')}`;
    const player = await createWith('pacat');
    expect(warnings).toEqual([expect.stringContaining('Connection refused')]);
    const options = { streamId: 's', sampleRateHz: SPEAKER_RATE_HZ };
    await expect(player.play(options)).rejects.toMatchObject({
      code: 'player_failed',
      message: expect.stringMatching(/pacat ended with code 1: .*refused.*AUDIO_PLAYER_PROGRAM/),
    });
    Object.assign(process.env, pulse.environment);
    const playback = await player.play(options);
    await playback.write(bytesOf(chirp(300, 3000, 0.2)));
    await expect(playback.end()).resolves.toBeUndefined();
    await player.close();
  });

  test('fails when the sound server dies', async () => {
    const own = await startPulseAudio();
    Object.assign(process.env, own.environment);
    const player = await createWith('aplay');
    const playback = await player.play({ streamId: 's', sampleRateHz: SPEAKER_RATE_HZ });
    await playback.write(bytesOf(chirp(300, 3000, 1)));
    await own.kill();
    await expect(playback.end()).rejects.toMatchObject({ code: 'player_failed' });
    await player.close();
    await own.close();
    Object.assign(process.env, pulse.environment);
  });

  test('leaves no program behind when its process is killed', async () => {
    const url = pathToFileURL(join(import.meta.dirname, 'speaker.ts')).href;
    const script = `
      const { speaker } = await import('${url}');
      const player = await speaker.createFrom({ AUDIO_PLAYER_PROGRAM: 'aplay' }, { warn: console.error });
      const playback = await player.play({ streamId: 's', sampleRateHz: 24000 });
      await playback.write(new Uint8Array(48000));
      const { readFileSync } = await import('node:fs');
      console.log(readFileSync('/proc/self/task/' + process.pid + '/children', 'utf8'));
      await playback.write(new Uint8Array(48000 * 60));
    `;
    const owner = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = (await once(owner.stdout, 'data')) as [Buffer];
    const pid = Number(line.toString());
    expect(existsSync(`/proc/${pid}`)).toBe(true);
    const exited = once(owner, 'exit');
    owner.kill('SIGKILL');
    await exited;
    await until(() => !existsSync(`/proc/${pid}`), { what: 'the player is gone' });
  });
});

test('does not start without the program, and says what to install', async () => {
  await expect(createWith(join(folder, 'nowhere', 'aplay'))).rejects.toThrow(
    /nowhere\/aplay.*apt-get install alsa-utils.*AUDIO_PLAYER_PROGRAM/,
  );
});

test('knows only programs that it knows how to call', async () => {
  await expect(createWith('mpv')).rejects.toThrow('must be one of aplay, pacat, pw-play, ffplay');
});

test('tells the exit and the last line of a program, and no secret in it', async () => {
  const path = standIn(
    `echo first >&2; echo 'no card at redis://:hush-hush@host sk-0123456789abcdef0123' >&2; exit 3`,
  );
  const player = await createWith(path);
  const [warning = ''] = warnings;
  expect(warning).toContain('aplay ended with code 3: no card at');
  expect(warning).not.toContain('first');
  expect(warning).not.toMatch(/hush|0123456789/);
  await player.close();
});

test('fails when a program ends early, whatever its exit code', async () => {
  const path = standIn('[ -e "$0.tried" ] && exit 0; touch "$0.tried"; cat >/dev/null');
  const player = await createWith(path);
  expect(warnings).toEqual([]);
  const playback = await player.play({ streamId: 's', sampleRateHz: SPEAKER_RATE_HZ });
  const fault = { code: 'player_failed', message: expect.stringContaining('ended with code 0') };
  await expect(
    until(() => playback.write(bytesOf(chirp(300, 3000, 0.05))).then(() => false)),
  ).rejects.toMatchObject(fault);
  await player.close();
});
