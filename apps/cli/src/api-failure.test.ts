import { APIConnectionError, APIError } from 'openai';
import { expect, it } from 'vitest';
import { BrokenAnswer, describeApiFailure } from './api-failure.ts';
import { CliError } from './cli-error.ts';
import { refusesAudio } from './chat/audio-refusal.ts';

const BASE_URL = 'http://127.0.0.1:8000/v1';
const refusal = (status: number, error: object, headers = {}) =>
  APIError.generate(status, { error }, undefined, new Headers(headers));
const withCode = (code: string, cause?: Error) =>
  Object.assign(new Error('failed', { cause }), { code });

it.each([
  [
    refusal(404, { message: 'model "llama" not found, try pulling it first' }),
    'model "llama" not found, try pulling it first (404)',
    'name another by --model',
  ],
  [
    refusal(404, { message: 'Invalid URL (POST /chat/completions)' }),
    'the server has no such route (404): Invalid URL (POST /chat/completions)',
    `check that ${BASE_URL} is right, with its /v1`,
  ],
  [
    refusal(400, { message: 'No such voice.', param: 'audio.voice' }),
    'No such voice (400)',
    'name another by --voice',
  ],
  [
    refusal(503, { message: 'Busy.' }, { 'retry-after': '4' }),
    'Busy (503)',
    'try again in 4 s, or look with doctor',
  ],
  [
    refusal(502, { message: 'Down.' }, { 'x-request-id': 'req_1' }),
    'Down (502)',
    "see the server's log under req_1",
  ],
  [
    new APIConnectionError({ cause: new Error('fetch failed', { cause: withCode('ENOTFOUND') }) }),
    `no server answers at ${BASE_URL} (ENOTFOUND)`,
    'start one by `npm start`, or name another by --base-url or OPENAI_BASE_URL',
  ],
  [
    new TypeError('terminated', { cause: withCode('UND_ERR_SOCKET') }),
    'the connection broke off in the middle of the answer (UND_ERR_SOCKET)',
    'ask again',
  ],
  [withCode('ENOSPC'), 'the file cannot be written (ENOSPC)', 'make room, or save elsewhere'],
  [
    new BrokenAnswer('It broke off'),
    'It broke off',
    `ask again, or see the log of the server at ${BASE_URL}`,
  ],
  [new CliError('said', 'done'), 'said', 'done'],
])('%s', (thrown, message, advice) => {
  expect(describeApiFailure(thrown, BASE_URL)).toMatchObject({ message, advice });
});

it.each([
  [{ message: "'modalities' does not support 'audio' yet", param: 'modalities' }, true],
  [{ message: 'Unrecognized request argument supplied: modalities', param: null }, true],
  [{ message: 'This model does not support audio output', param: null }, true],
  [{ message: 'body.audio: Extra inputs are not permitted; extra: audio', param: null }, true],
  [{ message: 'No such voice for audio', param: 'audio.voice' }, false],
  [{ message: 'Unknown model gpt-audio', param: 'model' }, false],
  [{ message: 'Invalid temperature', param: 'temperature' }, false],
])('%j: whether audio was refused: %s', (error, refused) => {
  expect(refusesAudio(refusal(400, error))).toBe(refused);
  expect(refusesAudio(refusal(500, error))).toBe(false);
});
