import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  chatRequest,
  contentOf,
  describeAIContract,
  never,
  readAnswer,
} from '@antiphon/testing/contracts/ai-service-contract';
import { type OpenAIServer, startOpenAIServer } from '@antiphon/testing/openai-server';
import { PATIENCE, until } from '@antiphon/testing/until';
import type { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { AIService, ChatEvent } from '@antiphon/shared/services/ai-service';
import { openai } from './openai.ts';

let server: OpenAIServer;
beforeAll(async () => {
  server = await startOpenAIServer({ models: ['small', 'whisper-1', 'large'] });
});
afterEach(() => {
  server.resetScripts();
  server.requests.length = 0;
});
afterAll(() => server.close());

function create(environment: Record<string, string> = {}): Promise<AIService> {
  const given = { OPENAI_BASE_URL: server.baseUrl, UPSTREAM_IDLE_TIMEOUT_MS: '5000' };
  const context = { concurrency: 256, warn: () => undefined };
  return openai.createFrom({ ...given, ...environment }, context);
}

describe('against a scripted server', () => {
  beforeEach(() => {
    server.script({ tokenDelayMs: 5 });
    const isLong = ({ rawBody }: { rawBody: Buffer }) => rawBody.includes('Go on and on');
    server.script({ when: isLong, tokens: 500, tokenDelayMs: 20 });
  });
  describeAIContract('openai', {
    create,
    shortPrompt: 'Hello',
    longPrompt: 'Go on and on',
    activeRequests: () => server.activeRequests(),
    openSockets: () => server.openSockets(),
  });
});

describe('openai', { timeout: 20_000 * PATIENCE }, () => {
  let service: AIService;
  beforeAll(async () => {
    service = await create({ UPSTREAM_IDLE_TIMEOUT_MS: '400' });
  });
  afterAll(() => service.close());

  /** What came before the error, and the error. */
  async function failing(
    request = chatRequest('Hello'),
  ): Promise<{ text: string; error: VoiceError }> {
    const events: ChatEvent[] = [];
    const answer = service.streamChat(request, never);
    const error = await (async () => {
      for await (const event of answer) events.push(event);
    })().catch((thrown: VoiceError) => thrown);
    expect(error).toBeInstanceOf(Error);
    expect(events.map(({ type }) => type)).not.toContain('finish');
    return { text: contentOf(events).text, error: error as VoiceError };
  }

  test('the body goes out byte for byte', async () => {
    const requestJson =
      '{"model":"small", "seed":12345678901234567890,\n "messages":[{"role":"user","content":"é\\u00e9"}],"stream":true}';
    await readAnswer(service.streamChat({ requestJson, stream: true, choiceCount: 1 }, never));
    expect(server.requests[0]?.rawBody.toString()).toBe(requestJson);
  });

  test('frames come back byte for byte, with all that the server put in them', async () => {
    server.script({ tokens: ['a', 'b'], usage: 'always' });
    const { events } = await readAnswer(service.streamChat(chatRequest('Hi'), never));
    const frames = events.flatMap((event) => (event.type === 'chunk-frames' ? event.frames : []));
    const direct = await fetch(`${server.baseUrl}/chat/completions`, {
      method: 'POST',
      body: chatRequest('Hi').requestJson,
    });
    expect(Buffer.concat(frames).toString()).toBe(
      (await direct.text()).replace('data: [DONE]\n\n', ''),
    );
    expect(events.at(-1)).toEqual({
      type: 'finish',
      finishReason: 'stop',
      usage: { promptTokens: 1, completionTokens: 2, totalTokens: 3 },
    });
  });

  test.each([
    ['comments', { comments: true }],
    ['other fields', { eventLines: true, idLines: true }],
    ['CRLF', { crlf: true, comments: true, idLines: true }],
    ['no blanks', { tight: true }],
    ['no [DONE]', { withoutDone: true }],
  ])('an SSE style with %s gives the same frames', async (_name, sse) => {
    const plain = await readAnswer(service.streamChat(chatRequest('Hi'), never));
    server.script({ sse });
    const styled = await readAnswer(service.streamChat(chatRequest('Hi'), never));
    expect(styled.text).toBe(plain.text);
    expect(styled.choices).toEqual(plain.choices);
  });

  test.each([1, 7, 100])(
    'a body in packets of %i bytes gives the same frames',
    async (pieceBytes) => {
      server.script({ tokens: ['é', '😀', 'data: x\n\n'], pieceBytes, sse: { crlf: true } });
      const { text } = await readAnswer(service.streamChat(chatRequest('Hi'), never));
      expect(text).toBe('é😀data: x\n\n');
    },
  );

  test('tool calls and several choices pass', async () => {
    const call = { id: 'call_1', name: 'weather', arguments: '{"city":"Oslo"}' };
    server.script({ tokens: 0, toolCalls: [call] });
    const withTools = await readAnswer(service.streamChat(chatRequest('Hi'), never));
    expect(withTools.events.at(-1)).toMatchObject({ finishReason: 'tool_calls' });
    expect(JSON.stringify(withTools.choices)).toContain('call_1');
    server.resetScripts();
    const three = await readAnswer(service.streamChat(chatRequest('Hi', { n: 3 }), never));
    expect(new Set(three.choices.map(({ index }) => index))).toEqual(new Set([0, 1, 2]));
  });

  test('a flood is read at the speed of the reader', async () => {
    server.script({ answerBytes: 64 * 1024 * 1024 });
    const answer = service.streamChat(chatRequest('Hi'), never);
    const events = answer[Symbol.asyncIterator]();
    await events.next();
    let before = -1;
    const written = await until(
      () => {
        const { bytesWritten = 0 } = server.requests[0] ?? {};
        const isStill = bytesWritten > 0 && bytesWritten === before;
        before = bytesWritten;
        return isStill && bytesWritten;
      },
      { intervalMs: 200 },
    );
    expect(written).toBeLessThan(32 * 1024 * 1024);
    let characters = 0;
    for (let next = await events.next(); !next.done; next = await events.next()) {
      if (next.value.type === 'chunk-frames') characters += next.value.frames.byteLength;
    }
    expect(characters).toBeGreaterThan(63 * 1024 * 1024);
  });

  test('an endless flood stops with the abort', async () => {
    server.script({ answerBytes: 1e12 });
    const stop = new AbortController();
    const answer = (async () => {
      let byteCount = 0;
      for await (const event of service.streamChat(chatRequest('Hi'), stop.signal)) {
        if (event.type === 'chunk-frames') byteCount += event.frames.byteLength;
        if (byteCount > 1e6) stop.abort('enough');
      }
    })();
    await expect(answer).rejects.toBe('enough');
    await until(() => server.activeRequests() === 0);
  });

  const nothing = /^$/;
  const twoTokens = /^t0 t1 $/;
  // What lies unread when the connection breaks is gone with it.
  const twoTokensAtMost = /^(t0 )?(t1 )?$/;
  test.each([
    ['silence after headers', { type: 'silence' }, 'upstream_timeout', nothing],
    ['silence in mid-answer', { type: 'silence', afterTokens: 2 }, 'upstream_timeout', twoTokens],
    ['no headers', { type: 'no-headers' }, 'upstream_timeout', nothing],
    ['a reset', { type: 'cut', by: 'rst', afterTokens: 2 }, 'upstream_protocol', twoTokensAtMost],
    ['a FIN', { type: 'cut', by: 'fin', afterTokens: 2 }, 'upstream_protocol', twoTokensAtMost],
    ['an early end', { type: 'early-end', afterTokens: 2 }, 'upstream_protocol', twoTokens],
    ['no finish reason', { type: 'no-finish-reason' }, 'upstream_protocol', /t19 $/],
    ['HTML', { type: 'html' }, 'upstream_protocol', nothing],
    ['garbage', { type: 'garbage' }, 'upstream_protocol', nothing],
    ['40 MB in one line', { type: 'long-line', bytes: 40e6 }, 'upstream_protocol', nothing],
    ['an error frame', { type: 'error-frame', afterTokens: 2 }, 'upstream_error', twoTokens],
    ['a 401', { type: 'status', status: 401 }, 'upstream_auth', nothing],
    ['a 400', { type: 'status', status: 400 }, 'upstream_rejected', nothing],
  ] as const)('%s is one error after the good prefix', async (_name, fault, code, prefix) => {
    server.script({ fault });
    const { text, error } = await failing();
    expect(error.code).toBe(code);
    expect(text).toMatch(prefix);
    await until(() => server.activeRequests() === 0);
    expect(server.requests[0]?.bytesWritten).toBeLessThan(20e6);
  });

  test('an error frame brings its words', async () => {
    server.script({ fault: { type: 'error-frame' } });
    expect((await failing()).error.message).toBe('The model crashed.');
  });

  test('an error or an answer as JSON where a stream was asked for', async () => {
    const fault = { type: 'status', status: 200, body: { error: { message: 'Busy.' } } } as const;
    server.script({ fault });
    expect((await failing()).error).toMatchObject({ code: 'upstream_error', message: 'Busy.' });
    server.script({ fault: { ...fault, body: { choices: [] } } });
    expect((await failing()).error.code).toBe('upstream_protocol');
  });

  test.each([
    ['a cut', { type: 'cut', by: 'fin', afterTokens: 1 }, 'upstream_protocol'],
    ['no finish reason', { type: 'no-finish-reason' }, 'upstream_protocol'],
    ['HTML', { type: 'html' }, 'upstream_protocol'],
    ['garbage', { type: 'garbage' }, 'upstream_protocol'],
    ['silence in mid-answer', { type: 'silence', afterTokens: 1 }, 'upstream_timeout'],
    [
      'an error with status 200',
      { type: 'status', status: 200, body: { error: { message: 'No.' } } },
      'upstream_error',
    ],
  ] as const)('%s in a whole answer is one error and nothing else', async (_name, fault, code) => {
    server.script({ fault });
    const { text, error } = await failing(chatRequest('Hello', { stream: false }));
    expect(error.code).toBe(code);
    expect(text).toBe('');
    await until(() => server.activeRequests() === 0);
  });

  test('a whole answer that is long in the making is waited for', async () => {
    server.script({ tokens: 10, tokenDelayMs: 100 }); // 1 s, with an idle limit of 0.4 s
    const { text } = await readAnswer(
      service.streamChat(chatRequest('Hi', { stream: false }), never),
    );
    expect(text).toContain('t9');
  });

  test('a whole answer is passed on byte for byte', async () => {
    server.script({ answerBytes: 1_000_000 });
    const request = chatRequest('Hi', { stream: false });
    const { events } = await readAnswer(service.streamChat(request, never));
    const bytes = events.flatMap((event) => (event.type === 'completion-bytes' ? event.bytes : []));
    const direct = await fetch(`${server.baseUrl}/chat/completions`, {
      method: 'POST',
      body: request.requestJson,
    });
    expect(Buffer.concat(bytes).toString()).toBe(await direct.text());
    expect(bytes.length).toBeGreaterThan(10);
  });

  test('the connection is used again after a stream', async () => {
    for (let call = 0; call < 8; call += 1) {
      await readAnswer(service.streamChat(chatRequest('Hi'), never));
    }
    expect(server.openSockets()).toBeLessThan(5);
  });

  test('a server that holds the connection after [DONE] does not hold the answer', async () => {
    const patient = await create({ UPSTREAM_IDLE_TIMEOUT_MS: '600000' });
    server.script({ sse: { holdOpen: true } });
    const { events } = await readAnswer(patient.streamChat(chatRequest('Hi'), never));
    expect(events.at(-1)?.type).toBe('finish');
    await until(() => server.activeRequests() === 0);
    await patient.close();
  });

  test('announces what the server lists and can chat with, or what the operator says', async () => {
    expect(await service.listModels(never)).toEqual({ models: ['small', 'large'] });
    const told = await create({ LLM_OPENAI_MODELS: 'mine, yours' });
    expect(await told.listModels(never)).toEqual({ models: ['mine', 'yours'] });
    await told.close();
    expect(server.requestsTo('/models')).toHaveLength(1);
  });

  test('a server without a list is told with the variable that helps', async () => {
    server.script({ path: '/models', fault: { type: 'status', status: 404 } });
    await expect(service.listModels(never)).rejects.toMatchObject({
      message: expect.stringContaining('LLM_OPENAI_MODELS'),
    });
  });
});
