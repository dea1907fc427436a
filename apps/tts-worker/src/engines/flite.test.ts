import { readdirSync, readFileSync } from 'node:fs';
import { until } from '@antiphon/testing/until';
import { describe, expect, test } from 'vitest';
import { collect, describeTTSContract } from '@antiphon/testing/contracts/tts-service-contract';
import type { SpeechRequest, TTSService } from '@antiphon/shared/services/tts-service';
import { flite } from './flite.ts';
import { FLITE_VOICES, fliteArguments } from './flite/voices.ts';

const create = (): Promise<TTSService> =>
  flite.createFrom({}, { concurrency: 2, warn: (message) => expect.fail(message) });

describeTTSContract('flite', { create, streams: true });

describe('flite', () => {
  const never = new AbortController().signal;

  test('gives each of the thirteen OpenAI voices a sound of its own', () => {
    const openaiVoices = Object.entries(FLITE_VOICES).slice(5);
    expect(openaiVoices.length).toBe(13);
    const sounds = openaiVoices.map(([, { base, pitch, playedRateHz }]) =>
      JSON.stringify([base, base === 'rms' ? 1 : pitch, playedRateHz]),
    );
    expect(new Set(sounds).size).toBe(13);
  });

  test('corrects the length of a voice that is played at another rate', () => {
    const onyx = FLITE_VOICES['onyx'];
    expect(onyx && fliteArguments(onyx, 2)).toContain('duration_stretch=0.4688');
  });

  test('names the voices it has when asked for another', async () => {
    await using service = await disposable();
    const request = { text: 'Hello.', voice: 'nobody', model: 'flite', speed: 1 };
    await expect(collect(service.synthesize(request, never))).rejects.toMatchObject({
      code: 'unsupported_value',
      param: 'voice',
      message: expect.stringContaining('slt, rms') as string,
    });
  });

  test('lets a phrase wait for a thread, and go when it is aborted while waiting', async () => {
    await using service = await disposable();
    const request = { text: 'Hello there. '.repeat(20), voice: 'slt', model: 'flite', speed: 1 };
    const stop = new AbortController();
    const running = [1, 2].map(() => collect(service.synthesize(request, never)));
    const waiting = collect(service.synthesize(request, stop.signal));
    const last = collect(service.synthesize(request, never));
    stop.abort(new Error('gave up'));
    await expect(waiting).rejects.toThrow('gave up');
    const lengths = (await Promise.all([...running, last])).map(({ pcm }) => pcm.byteLength);
    expect(new Set(lengths).size).toBe(1);
  });

  test('speaks in the background by threads of its own, which give way, and the same', async () => {
    await using service = await disposable();
    const request = { text: 'Hello there. '.repeat(20), voice: 'slt', model: 'flite', speed: 1 };
    const background = { ...request, background: true };
    const ended: string[] = [];
    const speak = async (name: string, wanted: SpeechRequest) => {
      const { pcm } = await collect(service.synthesize(wanted, never));
      ended.push(name);
      return pcm;
    };
    const lines = [1, 2, 3, 4].map(() => speak('background', background));
    await until(() => lowThreadCount() === 2);
    const alone = await speak('interactive', request);
    expect(ended.indexOf('interactive')).toBeLessThan(3);
    for (const pcm of await Promise.all(lines)) expect(pcm.equals(alone)).toBe(true);
    await service.close();
    await until(() => lowThreadCount() === 0);
  });

  /** Threads of this process with the lowest priority (proc(5): `nice` is the 17th behind the name). */
  function lowThreadCount(): number {
    const stats = readdirSync('/proc/self/task').map((id) => {
      try {
        return readFileSync(`/proc/self/task/${id}/stat`, 'utf8');
      } catch {
        return ''; // it has just ended
      }
    });
    return stats.filter((stat) => stat.slice(stat.lastIndexOf(')') + 2).split(' ')[16] === '19')
      .length;
  }

  async function disposable(): Promise<TTSService & AsyncDisposable> {
    const service = await create();
    return Object.assign(service, { [Symbol.asyncDispose]: () => service.close() });
  }
});
