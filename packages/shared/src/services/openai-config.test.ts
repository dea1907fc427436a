import { expect, test } from 'vitest';
import { z } from 'zod';
import { openAIConfig } from './openai-config.ts';
import { commaList } from './variables.ts';

test('OpenAI itself needs a key, and says which variable', () => {
  const parsed = openAIConfig('llm').safeParse({});
  expect(parsed.error?.issues[0]).toMatchObject({
    path: ['OPENAI_API_KEY'],
    message: expect.stringContaining('LLM_OPENAI_BASE_URL'),
  });
  expect(openAIConfig('llm').parse({ OPENAI_API_KEY: 'k' })).toEqual({
    baseUrl: 'https://api.openai.com/v1',
    apiKey: 'k',
    models: undefined,
    connectTimeoutMs: 10_000,
    idleTimeoutMs: 60_000,
  });
});

test('the variables of the stage win, and another server needs no key', () => {
  const environment = {
    OPENAI_BASE_URL: 'http://everyone:1/v1',
    TTS_OPENAI_BASE_URL: 'http://voices:2/v1',
    TTS_OPENAI_MODELS: 'kokoro, tts-1,',
    UPSTREAM_IDLE_TIMEOUT_MS: '1500',
  };
  expect(openAIConfig('tts').parse(environment)).toMatchObject({
    baseUrl: 'http://voices:2/v1',
    apiKey: undefined,
    models: ['kokoro', 'tts-1'],
    idleTimeoutMs: 1500,
  });
  expect(openAIConfig('stt').parse(environment).baseUrl).toBe('http://everyone:1/v1');
});

test('the shared key goes to the shared host only', () => {
  const keyOf = (environment: Record<string, string>) =>
    openAIConfig('tts').parse({ OPENAI_API_KEY: 'sk-shared', ...environment }).apiKey;
  expect(keyOf({})).toBe('sk-shared');
  expect(keyOf({ TTS_OPENAI_BASE_URL: 'https://api.openai.com/v1' })).toBe('sk-shared');
  expect(keyOf({ TTS_OPENAI_BASE_URL: 'http://kokoro:8880/v1' })).toBeUndefined();
  const own = { TTS_OPENAI_BASE_URL: 'http://kokoro:8880/v1', TTS_OPENAI_API_KEY: 'k' };
  expect(keyOf(own)).toBe('k');
});

test('an engine adds its own', () => {
  const schema = openAIConfig('tts').and(z.object({ TTS_OPENAI_VOICES: commaList() }));
  const config = schema.parse({ OPENAI_BASE_URL: 'http://x/v1', TTS_OPENAI_VOICES: 'a,b' });
  expect(config).toMatchObject({ baseUrl: 'http://x/v1', TTS_OPENAI_VOICES: ['a', 'b'] });
});

test.each([
  ['OPENAI_BASE_URL', 'localhost:1234'],
  ['LLM_OPENAI_BASE_URL', 'ftp://x'],
  ['UPSTREAM_IDLE_TIMEOUT_MS', 'soon'],
])('names a wrong %s', (name, value) => {
  const environment = { OPENAI_API_KEY: 'k', [name]: value };
  expect(openAIConfig('llm').safeParse(environment).error?.issues[0]?.path).toEqual([name]);
});
