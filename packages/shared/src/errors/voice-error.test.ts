import { describe, expect, it } from 'vitest';
import { ERROR_CATALOG, isErrorCode } from './error-catalog.ts';
import { VoiceError } from './voice-error.ts';

it('takes the message of the catalog unless it is given one', () => {
  expect(new VoiceError('stream_timeout').message).toBe(ERROR_CATALOG.stream_timeout.message);
  expect(new VoiceError('stream_timeout', { message: 'x' }).message).toBe('x');
});

it('has all four keys in its body, and OpenAI’s code where that differs', () => {
  const body = new VoiceError('invalid_value', { message: 'x', param: 'voice' }).toBody();
  expect(body).toEqual({
    error: { message: 'x', type: 'invalid_request_error', param: 'voice', code: 'invalid_value' },
  });
  expect(new VoiceError('invalid_json').toBody().error).toMatchObject({ param: null, code: null });
});

describe('crossing a stream', () => {
  it('keeps what the client is told, and nothing else', () => {
    const error = new VoiceError('rate_limit_exceeded', {
      ...{ message: 'slower', param: 'model', retryAfterSeconds: 3 },
      cause: new Error('secret'),
    });
    const wire = JSON.stringify(error.serialize());
    expect(wire).not.toContain('secret');
    const back = VoiceError.deserialize(JSON.parse(wire));
    expect(back.toBody()).toEqual(error.toBody());
    expect(back.retryAfterSeconds).toBe(3);
    expect(back.cause).toBeUndefined();
  });

  it('leaves out what is not there', () => {
    expect(Object.keys(new VoiceError('stream_timeout').serialize())).toEqual(['code', 'message']);
  });

  it.each(['of_the_future', 'toString', '__proto__'])(
    'makes the code %s internal_error',
    (code) => {
      expect(isErrorCode(code)).toBe(false);
      expect(VoiceError.deserialize({ code, message: 'x' })).toMatchObject({
        code: 'internal_error',
        message: 'x',
      });
    },
  );
});

describe('from', () => {
  it('keeps a VoiceError', () => {
    const error = new VoiceError('stream_timeout');
    expect(VoiceError.from(error, 'engine_failed')).toBe(error);
  });

  it.each([[new TypeError('secret')], ['secret'], [undefined]])('hides %o', (thrown) => {
    const error = VoiceError.from(thrown, 'engine_failed');
    expect(error).toMatchObject({ code: 'engine_failed', cause: thrown });
    expect(error.message).not.toContain('secret');
  });
});
