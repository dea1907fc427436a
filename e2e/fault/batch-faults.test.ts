import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expectUnbroken, violations } from '@antiphon/testing/invariant';
import { until } from '@antiphon/testing/until';
import OpenAI from 'openai';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { FaultStack, STREAM_MS, measured } from './fault-stack.ts';

const LINES = 50;
const STREAMS = 20;
const OVER_MS = 60_000;

let faults: FaultStack;
let client: OpenAI;

beforeAll(async () => {
  faults = await FaultStack.start({ llmWorkers: 1, ttsWorkers: 2 });
  client = new OpenAI({ baseURL: faults.baseUrl, apiKey: 'none', maxRetries: 8 });
}, 60_000);
afterEach(() => faults.untilAtRest());
afterAll(() => faults?.close());

/** Each line takes the scripted voice a while: the batch is under way when the fault comes. */
async function orderBatch(): Promise<string> {
  faults.scriptAll({ path: '/audio/speech', tokenDelayMs: 100 });
  const lines = Array.from({ length: LINES }, (_, index) =>
    JSON.stringify({
      ...{ custom_id: `line-${index}`, method: 'POST', url: '/v1/audio/speech' },
      body: {
        model: 'scripted-tts',
        voice: 'alloy',
        response_format: 'wav',
        input: `Line ${index}.`,
      },
    }),
  );
  const file = new File([lines.join('\n')], 'fifty.jsonl');
  const { id } = await client.files.create({ file, purpose: 'batch' });
  const batch = await client.batches.create({
    input_file_id: id,
    endpoint: '/v1/audio/speech' as '/v1/chat/completions', // the SDK knows OpenAI's endpoints only
    completion_window: '24h',
  });
  await until(() => faults.calls('/audio/speech') > 3, { what: 'the batch is under way' });
  return batch.id;
}

/** The batch at its end, all of whose lines have one result and one file each. */
async function untilWhole(batchId: string): Promise<OpenAI.Batch> {
  const batch = await until(
    async () => {
      const found = await client.batches.retrieve(batchId).catch(() => undefined);
      return found?.status === 'completed' ? found : undefined;
    },
    { timeoutMs: OVER_MS, what: 'the batch is completed' },
  );
  expect(batch.request_counts).toEqual({ total: LINES, completed: LINES, failed: 0 });
  expect(batch.error_file_id ?? null).toBeNull();
  const output = await (await client.files.content(batch.output_file_id ?? '')).text();
  const lines = output
    .trimEnd()
    .split('\n')
    .map(
      (line) => JSON.parse(line) as { custom_id: string; response: { body: { file_id: string } } },
    );
  const ids = lines.map(({ custom_id: id }) => id);
  expect(ids.toSorted()).toEqual(
    Array.from({ length: LINES }, (_, index) => `line-${index}`).toSorted(),
  );
  const fileIds = new Set(lines.map(({ response }) => response.body.file_id));
  expect(fileIds.size).toBe(LINES);
  const batchPart = batchId.slice('batch_'.length);
  const sounds = async () => {
    const names = await readdir(join(faults.stack.dataDirectory, 'files'));
    return names.filter(
      (name) => name.startsWith(`file-${batchPart}-`) && !name.endsWith('-output'),
    );
  };
  // A second run of a line that was taken for stalled may still be writing; what a killed one wrote is swept later.
  const killed = faults.stack.processes.some(({ child }) => child.signalCode === 'SIGKILL');
  const found = await until(
    async () => {
      const names = (await sounds()).filter((name) => !(killed && name.endsWith('.part')));
      return names.some((name) => name.endsWith('.part')) ? undefined : names;
    },
    { timeoutMs: 10_000, what: 'nobody writes' },
  );
  // Each run has a blob of its own behind the file's id; that of one which was cut off is swept later.
  expect(new Set(found.map((name) => name.split('_')[0]))).toEqual(fileIds);
  return batch;
}

it.each([3000, 15_000])(
  'F09 Redis killed and back after %i ms, under a batch of 50',
  async (ms) => {
    const batchId = await orderBatch();
    faults.scriptAll({ path: '/chat/completions', tokens: 100 });
    const calls = faults.calls();
    const answers = Promise.all(Array.from({ length: STREAMS }, () => faults.chat()));
    await until(() => faults.calls() - calls === STREAMS, { what: 'all streams run' });
    await faults.stack.redis.kill();
    const killedAtMs = performance.now();
    await until(() => performance.now() - killedAtMs > ms, { timeoutMs: ms });
    await faults.stack.redis.restart();
    const upAtMs = performance.now();
    const seen = await answers;
    for (const answer of seen)
      expectUnbroken(violations(answer, { tokenCount: 100, maxMs: STREAM_MS }));
    const batch = await untilWhole(batchId);
    expect(batch.status).toBe('completed');
    const seconds = ((performance.now() - upAtMs) / 1000).toFixed(1);
    measured(
      'F09',
      `${ms} ms away: batch ${LINES} of ${LINES}, one file each, ${seconds} s after Redis was back`,
    );
  },
);

it('F01 worker and gateway killed in the middle of a batch of 50', async () => {
  const batchId = await orderBatch();
  const [worker] = faults.tts as [(typeof faults.tts)[number]];
  await faults.end(worker, 'SIGKILL');
  faults.tts[0] = await faults.revive(worker);
  await faults.end(faults.gateway, 'SIGKILL');
  faults.gateway = await faults.revive(faults.gateway);
  const batch = await untilWhole(batchId);
  expect(batch.status).toBe('completed');
});
