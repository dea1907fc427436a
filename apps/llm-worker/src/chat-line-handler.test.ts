import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { LineContext } from '@antiphon/shared/batches/line-handler';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { ChatLine } from '@antiphon/shared/jobs/batch-line-job';
import type { AIService, ChatEvent, ChatRequest } from '@antiphon/shared/services/ai-service';
import { type BlobStore, openDiskBlobStore } from '@antiphon/shared/storage/blob-store';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { createChatLineHandler } from './chat-line-handler.ts';
import { demo } from './engines/demo.ts';

let directory: string;
let fileBlobs: BlobStore;
/** What happened, in order. */
let events: string[];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'antiphon-lines-'));
  fileBlobs = await openDiskBlobStore(directory);
});
beforeEach(() => {
  events = [];
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const finish: ChatEvent = {
  type: 'finish',
  finishReason: 'length',
  usage: { promptTokens: 1, completionTokens: 2, totalTokens: 3 },
};
const engine = (streamChat: AIService['streamChat']): AIService => ({
  listModels: async () => ({ models: ['m'] }),
  streamChat,
  close: async () => undefined,
});

async function run(
  service: AIService,
  given: Partial<ChatLine> = {},
  changes: Partial<LineContext<'chat'>> = {},
) {
  const sent = given.requestBlobId === undefined ? { requestJson: '{}' } : {};
  const { result } = await createChatLineHandler({ service, fileBlobs })({
    job: {
      ...{ version: 1, batchId: 'batch_0a', line: 7, tenantId: 'one', model: 'm' },
      work: { type: 'chat', choiceCount: 1, ...sent, ...given },
    },
    signal: new AbortController().signal,
    async takeTurn() {
      events.push('turn');
      return () => void events.push('turn over');
    },
    ...changes,
  });
  return JSON.parse(result.type === 'completion' ? result.body : '{}') as Record<string, unknown>;
}

it('gives the whole completion, within one turn', async () => {
  const seen: ChatRequest[] = [];
  const completion = await run(
    engine(async function* (request) {
      seen.push(request);
      events.push('engine');
      yield { type: 'text-delta', text: 'Hel' };
      yield { type: 'text-delta', text: 'lo' };
      yield finish;
    }),
    { requestJson: '{"a":1}', choiceCount: 2 },
  );
  expect(completion).toMatchObject({
    ...{ id: 'chatcmpl-0a-7', object: 'chat.completion', model: 'm' },
    choices: [{ message: { role: 'assistant', content: 'Hello' }, finish_reason: 'length' }],
    usage: { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 },
  });
  expect(events).toEqual(['turn', 'engine', 'turn over']);
  expect(seen).toEqual([{ requestJson: '{"a":1}', stream: false, choiceCount: 2 }]);
});

it('passes on untouched what an engine made ready, in its pieces', async () => {
  const ready = Buffer.from('{"id":"chatcmpl-up","text":"grün"}');
  const completion = await run(
    engine(async function* () {
      yield { type: 'completion-bytes', bytes: ready.subarray(0, 30) };
      yield { type: 'completion-bytes', bytes: ready.subarray(30) };
      yield finish;
    }),
  );
  expect(completion).toEqual({ id: 'chatcmpl-up', text: 'grün' });
});

it('reads a large body from the files’ store, before its turn', async () => {
  const requestJson = JSON.stringify({ messages: 'ü'.repeat(400_000) });
  const { blobId: requestBlobId } = await fileBlobs.put(Readable.from([requestJson]));
  const seen: ChatRequest[] = [];
  const service = engine(async function* (request) {
    seen.push(request);
    yield finish;
  });
  await run(service, { requestBlobId });
  expect(seen[0]?.requestJson).toBe(requestJson);
  events = [];
  await expect(run(service, { requestBlobId: 'gone' })).rejects.toMatchObject({
    code: 'internal_error',
  });
  expect(events).toEqual([]);
});

it('that breaks off or fails has no result, and its turn is over', async () => {
  const broken = run(
    engine(async function* () {
      yield { type: 'text-delta', text: 'half' };
    }),
  );
  await expect(broken).rejects.toMatchObject({ code: 'upstream_protocol' });
  const failed = run(
    engine(async function* () {
      yield { type: 'text-delta', text: 'half' };
      throw new VoiceError('rate_limit_exceeded', { retryAfterSeconds: 7 });
    }),
  );
  await expect(failed).rejects.toMatchObject({ code: 'rate_limit_exceeded', retryAfterSeconds: 7 });
  expect(events).toEqual(['turn', 'turn over', 'turn', 'turn over']);
});

it('that is stopped while it waits never asks the engine; in the middle, its signal aborts', async () => {
  const reason = new Error('batch over');
  let calls = 0;
  const service = engine(async function* (_request, signal) {
    calls += 1;
    yield { type: 'text-delta', text: 'a' };
    stopped.abort(reason);
    signal.throwIfAborted();
  });
  const stopped = new AbortController();
  const waiting = run(service, {}, { takeTurn: () => Promise.reject(reason) });
  await expect(waiting).rejects.toBe(reason);
  expect(calls).toBe(0);
  await expect(run(service, {}, { signal: stopped.signal })).rejects.toBe(reason);
  expect(calls).toBe(1);
});

it('is answered by the embedded engine', async () => {
  const service = await demo.createFrom({}, { concurrency: 1, warn: () => undefined });
  const requestJson = JSON.stringify({
    model: 'demo',
    messages: [{ role: 'user', content: 'What is 6 * 7?' }],
  });
  const { choices } = await run(service, { requestJson });
  expect(JSON.stringify(choices)).toContain('42');
  await service.close();
});
