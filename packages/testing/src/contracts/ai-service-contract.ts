import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { AIService, ChatEvent, ChatRequest } from '@antiphon/shared/services/ai-service';
import { PATIENCE, until } from '../until.ts';

export interface AIContract {
  create: () => Promise<AIService>;
  /** Answered within a second, in several parts, and always in the same words. */
  shortPrompt: string;
  /** The answer takes three seconds or more. */
  longPrompt: string;
  /** Calls that an upstream is still answering; for engines that have one. */
  activeRequests?: () => number;
  /** Connections to the upstream. */
  openSockets?: () => number;
}

interface Choice {
  index: number;
  delta?: { role?: string; content?: string | null };
  message?: { content: string | null };
  finish_reason?: string | null;
}

/** Everything an answer came to. */
export interface Answer {
  events: ChatEvent[];
  text: string;
  choices: Choice[];
}

export const never = new AbortController().signal;

/** A request as the handler passes it. */
export function chatRequest(
  prompt: string,
  { stream = true, ...more }: { stream?: boolean } & Record<string, unknown> = {},
): ChatRequest {
  const messages = [{ role: 'user', content: prompt }];
  const choiceCount = typeof more['n'] === 'number' ? more['n'] : 1;
  const requestJson = JSON.stringify({ model: 'demo', messages, stream, ...more });
  return { requestJson, stream, choiceCount };
}

/** Reads an answer to its end and checks the form of every event. */
export async function readAnswer(answer: AsyncIterable<ChatEvent>): Promise<Answer> {
  const events: ChatEvent[] = [];
  for await (const event of answer) events.push(event);
  return { events, ...contentOf(events) };
}

/** The text of choice 0 and all choices, whatever the form of the events. */
export function contentOf(events: readonly ChatEvent[]): Omit<Answer, 'events'> {
  const choices: Choice[] = [];
  const body: Uint8Array[] = [];
  let text = '';
  for (const event of events) {
    if (event.type === 'text-delta') text += event.text;
    if (event.type === 'completion-bytes') body.push(event.bytes);
    if (event.type === 'chunk-frames')
      choices.push(...parseFrames(event.frames).flatMap(choicesOf));
  }
  if (body.length > 0) choices.push(...choicesOf(JSON.parse(Buffer.concat(body).toString())));
  const first = choices.filter(({ index }) => index === 0);
  const said = first.map(({ delta, message }) => delta?.content ?? message?.content ?? '');
  return { text: text + said.join(''), choices };
}

/** Frames must be whole and exactly `data: {…}\n\n`: they go to the client as they are. */
export function parseFrames(frames: Uint8Array): Record<string, unknown>[] {
  const text = new TextDecoder('utf-8', { fatal: true }).decode(frames);
  expect(text.endsWith('\n\n')).toBe(true);
  return text
    .slice(0, -2)
    .split('\n\n')
    .map((frame) => {
      expect(frame).toMatch(/^data: \{[^\n\r]*\}$/);
      return JSON.parse(frame.slice('data: '.length)) as Record<string, unknown>;
    });
}

function choicesOf(chunk: Record<string, unknown>): Choice[] {
  return chunk['choices'] as Choice[];
}

/** The rules of `AIService`, for any engine. */
export function describeAIContract(name: string, contract: AIContract): void {
  const { shortPrompt, longPrompt, activeRequests = () => 0, openSockets = () => 0 } = contract;
  describe(`${name} keeps the AI contract`, { timeout: 30_000 * PATIENCE }, () => {
    let service: AIService;
    beforeAll(async () => {
      service = await contract.create();
    });
    afterAll(async () => {
      await service.close();
      await until(() => openSockets() === 0);
    });
    const ask = (request: ChatRequest, signal = never): Promise<Answer> =>
      readAnswer(service.streamChat(request, signal));

    test('offers models, each once', async () => {
      const { models } = await service.listModels(never);
      expect(models.length).toBeGreaterThan(0);
      expect(new Set(models).size).toBe(models.length);
    });

    test.each([true, false])('ends by one finish (stream: %s)', async (stream) => {
      const { events, text } = await ask(chatRequest(shortPrompt, { stream }));
      const finishes = events.filter(({ type }) => type === 'finish');
      expect(finishes).toHaveLength(1);
      expect(events.at(-1)).toMatchObject({ type: 'finish', finishReason: 'stop' });
      expect(text).not.toBe('');
    });

    test('yields frames only for a stream, and bytes only for a whole answer', async () => {
      const streamed = await ask(chatRequest(shortPrompt));
      const whole = await ask(chatRequest(shortPrompt, { stream: false }));
      expect(streamed.events.map(({ type }) => type)).not.toContain('completion-bytes');
      expect(whole.events.map(({ type }) => type)).not.toContain('chunk-frames');
    });

    test('yields text as it is made', async () => {
      const { events } = await ask(chatRequest(shortPrompt));
      expect(events.length).toBeGreaterThan(3);
    });

    test('says the same in a stream and as a whole, and each time', async () => {
      const [streamed, again, whole] = await Promise.all([
        ask(chatRequest(shortPrompt)),
        ask(chatRequest(shortPrompt)),
        ask(chatRequest(shortPrompt, { stream: false })),
      ]);
      expect(again.text).toBe(streamed.text);
      expect(whole.text).toBe(streamed.text);
    });

    test('answers 20 at once, each whole', async () => {
      const alone = await ask(chatRequest(shortPrompt));
      const requests = Array.from({ length: 20 }, () => ask(chatRequest(shortPrompt)));
      for (const { text, events } of await Promise.all(requests)) {
        expect(text).toBe(alone.text);
        expect(events.at(-1)?.type).toBe('finish');
      }
    });

    test('an aborted request is never begun', async () => {
      const reason = new Error('early');
      const answer = ask(chatRequest(shortPrompt), AbortSignal.abort(reason));
      await expect(answer).rejects.toBe(reason);
      expect(activeRequests()).toBe(0);
    });

    test('stops within a second of an abort, throws its reason and leaves no call open', async () => {
      const stop = new AbortController();
      const reason = new Error('left');
      const events: ChatEvent[] = [];
      let abortedAtMs = NaN;
      const answer = (async () => {
        for await (const event of service.streamChat(chatRequest(longPrompt), stop.signal)) {
          events.push(event);
          if (events.length !== 3) continue;
          abortedAtMs = performance.now();
          stop.abort(reason);
        }
      })();
      await expect(answer).rejects.toBe(reason);
      expect(performance.now() - abortedAtMs).toBeLessThan(1000 * PATIENCE);
      expect(events).toHaveLength(3);
      await until(() => activeRequests() === 0, { timeoutMs: 1000 });
    });

    test('stops when the abort comes while it waits', async () => {
      const stop = new AbortController();
      const events: ChatEvent[] = [];
      const answer = (async () => {
        const all = service.streamChat(chatRequest(longPrompt), stop.signal);
        for await (const event of all) events.push(event);
      })().catch((thrown: unknown) => thrown);
      await until(() => events.length > 0);
      stop.abort('left');
      expect(await answer).toBe('left');
      await until(() => activeRequests() === 0, { timeoutMs: 1000 });
    });

    test('aborts the wait for a whole answer', async () => {
      const stop = new AbortController();
      const answer = ask(chatRequest(longPrompt, { stream: false }), stop.signal).catch(
        (thrown: unknown) => thrown,
      );
      if (contract.activeRequests) await until(() => activeRequests() === 1);
      stop.abort('left');
      expect(await answer).toBe('left');
      await until(() => activeRequests() === 0, { timeoutMs: 1000 });
    });

    test('one abort does not touch the others', async () => {
      const stop = new AbortController();
      const stopped = ask(chatRequest(longPrompt), stop.signal).catch((thrown: unknown) => thrown);
      const other = ask(chatRequest(shortPrompt));
      stop.abort('left');
      expect(await stopped).toBe('left');
      expect((await other).events.at(-1)?.type).toBe('finish');
    });

    test('a reader that leaves early leaves no call open', async () => {
      let count = 0;
      for await (const _event of service.streamChat(chatRequest(longPrompt), never)) {
        count += 1;
        break;
      }
      expect(count).toBe(1);
      await until(() => activeRequests() === 0, { timeoutMs: 1000 });
    });

    test('takes any text', async () => {
      for (const prompt of [
        '',
        ' ',
        '\u0000\u001b',
        '👩‍👩‍👧‍👦 \ud800',
        '"}]}\n\ndata: [DONE]',
        'x'.repeat(1e6),
      ]) {
        const { events } = await ask(chatRequest(prompt));
        expect(events.at(-1)?.type).toBe('finish');
      }
    });

    test('closes, twice if need be', async () => {
      const other = await contract.create();
      await readAnswer(other.streamChat(chatRequest(shortPrompt), never));
      await other.close();
      await expect(other.close()).resolves.toBeUndefined();
    });
  });
}
