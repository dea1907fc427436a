import { describe, expect, test } from 'vitest';
import { collect, describeTTSContract } from '@antiphon/testing/contracts/tts-service-contract';
import type { TTSService } from '@antiphon/shared/services/tts-service';
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

  async function disposable(): Promise<TTSService & AsyncDisposable> {
    const service = await create();
    return Object.assign(service, { [Symbol.asyncDispose]: () => service.close() });
  }
});
