import { describe, expect, test } from 'vitest';
import { collect, describeTTSContract } from '@antiphon/testing/contracts/tts-service-contract';
import type { SpeechRequest, TTSService } from '@antiphon/shared/services/tts-service';
import { espeak } from './espeak.ts';

const context = { concurrency: 2, warn: (message: string): never => expect.fail(message) };
const create = (): Promise<TTSService> => espeak.createFrom({}, context);

describeTTSContract('espeak', { create, streams: true });

describe('espeak', () => {
  const never = new AbortController().signal;

  test('without the program says which, and how to install it', async () => {
    const missing = espeak.createFrom({ TTS_ESPEAK_PATH: '/nowhere/espeak-ng' }, context);
    await expect(missing).rejects.toThrow(/'\/nowhere\/espeak-ng'.*apt-get install espeak-ng/);
  });

  test('with a program that is another says so', async () => {
    const other = espeak.createFrom({ TTS_ESPEAK_PATH: '/bin/echo' }, context);
    await expect(other).rejects.toThrow('TTS_ESPEAK_PATH');
  });

  test('gives each of the thirteen OpenAI voices a sound of its own', async () => {
    const service = await create();
    const { voices } = await service.listVoices(never);
    const openai = voices === 'any' ? [] : voices.slice(0, 13).map(({ id }) => id);
    const sounds = new Set<string>();
    for (const voice of openai) sounds.add((await speak(service, { voice })).toString('base64'));
    expect(sounds.size).toBe(13);
    await service.close();
  });

  test('speaks Russian with any voice name as Russian, not letter by letter', async () => {
    const service = await create();
    const text = 'Привет, как дела?';
    const native = await speak(service, { text, voice: 'ru' });
    const byScript = await speak(service, { text, voice: 'slt' });
    const spelled = await speak(service, { text, voice: 'en-us' });
    expect(byScript.byteLength).toBeLessThan(native.byteLength * 1.3);
    expect(spelled.byteLength).toBeGreaterThan(native.byteLength * 2);
    await service.close();
  });

  test.each([
    ['Japanese with kanji, which it would call Chinese letters', '今日はいい天気です'],
    ['Javanese, which it would not say', 'ꦲꦏ꧀ꦱꦫ'],
    ['Khmer, which it would spell by code point', 'ប្រទេស'],
  ])('refuses %s', async (_, text) => {
    const service = await create();
    expect(service.canSpeak(text)).toBe(false);
    await expect(speak(service, { text })).rejects.toMatchObject({ code: 'text_not_speakable' });
    await service.close();
  });

  test('takes no commands from the text', async () => {
    const service = await create();
    const phonemes = await speak(service, { text: '[[h@loU]]' });
    const brackets = await speak(service, { text: 'hello' });
    expect(phonemes.byteLength).toBeGreaterThan(brackets.byteLength * 1.5);
    await service.close();
  });

  test('says the same in the background', async () => {
    const service = await create();
    const sound = await speak(service, { text: 'The same.', background: true });
    expect(sound.equals(await speak(service, { text: 'The same.' }))).toBe(true);
    await service.close();
  });

  async function speak(service: TTSService, request: Partial<SpeechRequest>): Promise<Buffer> {
    const base = { text: 'Hello there.', voice: 'alloy', model: 'espeak', speed: 1 };
    return (await collect(service.synthesize({ ...base, ...request }, never))).pcm;
  }
});
