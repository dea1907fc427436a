import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';

import {
  batchKey,
  createBatchId,
  inputBlobId,
  lineFileId,
  lineResultsKey,
} from '@antiphon/shared/batches/batch-key';
import { type BatchRecord, isOver } from '@antiphon/shared/batches/batch-record';
import type { LineContext, LineHandler } from '@antiphon/shared/batches/line-handler';
import { LineProducer } from '@antiphon/shared/batches/line-producer';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { createFileId } from '@antiphon/shared/files/file-record';
import type { BlobStore } from '@antiphon/shared/storage/blob-store';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  type ScriptedLane,
  type ScriptedLaneOptions,
  startScriptedLane,
} from '../testing/scripted-lane.ts';
import { type TestGateway, openTestGateway } from '../testing/test-gateway.ts';
import { BatchRun } from './batch-run.ts';
import { BatchRunner } from './batch-runner.ts';

let server: RedisServer;
let redis: Redis;
let directory: string;
let gateways: TestGateway[];
let lanes: { close(): Promise<void> }[];

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
});
beforeEach(async () => {
  await redis.flushall();
  directory = await mkdtemp(join(tmpdir(), 'antiphon-batches-'));
  gateways = [];
  lanes = [];
});
afterEach(async () => {
  await Promise.all(lanes.map((lane) => lane.close()));
  await Promise.all(gateways.map((gateway) => gateway.close()));
  await rm(directory, { recursive: true, force: true });
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});

async function openGateway(environment: NodeJS.ProcessEnv = {}): Promise<TestGateway> {
  const gateway = await openTestGateway(server.url, { DATA_DIR: directory, ...environment });
  gateways.push(gateway);
  return gateway;
}

const speakAtOnce: LineHandler<'speech'> = async ({ job }) => {
  const { line, model, work } = job;
  const fileId = `file-of-${line}`;
  return {
    result: {
      ...{ type: 'speech', model, voice: work.voice, format: work.format, fileId },
      ...{ bytes: 4, durationMs: 10 },
    },
  };
};

async function openSpeech(
  gateway: TestGateway,
  given: Partial<ScriptedLaneOptions<'speech'>> = {},
): Promise<ScriptedLane<'speech'>> {
  const lane = await startScriptedLane<'speech'>({
    ...{ redisUrl: server.url, context: gateway.context, kind: 'speech', handler: speakAtOnce },
    announced: { models: ['scripted-tts'], voices: [{ id: 'ann', name: 'Ann' }] },
    ...given,
  });
  lanes.push(lane);
  return lane;
}

interface Line {
  custom_id?: unknown;
  method?: string;
  url?: string;
  body?: unknown;
}

const speechLine = (number: number, body: object = {}): Line => ({
  ...{ custom_id: `line-${number}`, method: 'POST', url: '/v1/audio/speech' },
  body: { input: `This is line ${number}.`, ...body },
});
const speechLines = (count: number) => Array.from({ length: count }, (_, n) => speechLine(n));

const jsonLines = (lines: (Line | string)[]): string =>
  lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line))).join('\n');

interface Batch {
  endpoint?: BatchRecord['endpoint'];
  windowSeconds?: number;
}

async function createBatch(
  { context }: TestGateway,
  lines: (Line | string)[] | Buffer,
  { endpoint = '/v1/audio/speech', windowSeconds = 3600 }: Batch = {},
): Promise<string> {
  const inputFileId = createFileId();
  const bytes = Buffer.isBuffer(lines) ? lines : Buffer.from(jsonLines(lines));
  await context.fileBlobs.put(Readable.from([bytes]), inputFileId);
  const id = createBatchId();
  await context.batches.create({
    ...{ id, tenantId: 'anonymous', endpoint, inputFileId, completionWindow: '1h', windowSeconds },
    outputLifeSeconds: 3600,
  });
  return id;
}

const find = async ({ context }: TestGateway, id: string): Promise<BatchRecord> => {
  const batch = await context.batches.find(id);
  if (!batch) throw new Error(`no batch ${id}`);
  return batch;
};

async function untilOver(gateway: TestGateway, id: string): Promise<BatchRecord> {
  return until(
    async () => {
      const batch = await find(gateway, id);
      return isOver(batch.status) ? batch : undefined;
    },
    { what: `the end of ${id}`, timeoutMs: 10_000 },
  );
}

interface Answer {
  id: string;
  custom_id: string;
  response: { status_code: number; request_id: string; body: Record<string, unknown> } | null;
  error: { code: string; message: string } | null;
}

async function readAnswers({ context }: TestGateway, fileId: string | undefined) {
  if (fileId === undefined) return [];
  const file = await context.files.get('anonymous', fileId);
  expect(file?.purpose).toBe('batch_output');
  const stored = await context.fileBlobs.get(fileId);
  if (!stored) throw new Error(`no file ${fileId}`);
  const content = await text(stored);
  expect(Buffer.byteLength(content)).toBe(file?.bytes);
  expect(content.endsWith('\n')).toBe(true);
  return content
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Answer);
}

const idsOf = (answers: Answer[]): string[] => answers.map((answer) => answer.custom_id);
const wanted = (count: number): string[] =>
  Array.from({ length: count }, (_, number) => `line-${number}`);

describe('a batch of speech', () => {
  it('is answered line by line, in the order of its input, and leaves nothing behind', async () => {
    const gateway = await openGateway();
    const lane = await openSpeech(gateway);
    const lines = [...speechLines(20), speechLine(20, { voice: 'ann', response_format: 'wav' })];
    const id = await createBatch(gateway, lines);
    const batch = await untilOver(gateway, id);
    expect(batch).toMatchObject({ status: 'completed', model: 'scripted-tts' });
    expect(batch).toMatchObject({ total: 21, completed: 21, failed: 0 });
    expect(batch.errorFileId).toBeUndefined();
    const answers = await readAnswers(gateway, batch.outputFileId);
    expect(idsOf(answers)).toEqual(wanted(21));
    expect(new Set(answers.map((answer) => answer.id)).size).toBe(21);
    expect(answers[20]).toEqual({
      id: expect.stringMatching(/^batch_req_[0-9a-f]{32}$/),
      custom_id: 'line-20',
      response: {
        status_code: 200,
        request_id: expect.stringMatching(/^req_[0-9a-f]{32}$/),
        body: {
          ...{ object: 'audio.speech', model: 'scripted-tts', voice: 'ann', format: 'wav' },
          ...{ content_type: 'audio/wav', bytes: 4, duration_ms: 10, file_id: 'file-of-20' },
        },
      },
      error: null,
    });
    expect(lane.jobs).toHaveLength(21);
    expect(lane.jobs[0]?.work).toMatchObject({ voice: 'ann', format: 'mp3', speed: 1 });
    expect(await redis.exists('antiphon:batches:open')).toBe(0);
    await until(async () => (await readdir(join(directory, 'files'))).length === 2);
    await until(() => gateway.runner.size === 0);
  });

  it('has sounds that expire with the output that names them, and never before it', async () => {
    const gateway = await openGateway();
    const { files } = gateway.context;
    const lane = await openSpeech(gateway, {
      handler: async (line) => {
        const { batchId, tenantId, work } = line.job;
        const { expiresAtSeconds } = work;
        const file = { id: lineFileId(batchId, line.job.line), tenantId, bytes: 4, filename: 'a' };
        const { result } = await speakAtOnce(line);
        return {
          result: { ...result, fileId: file.id },
          file: { ...file, purpose: 'batch_output', createdAtSeconds: 1, expiresAtSeconds },
        };
      },
    });
    const id = await createBatch(gateway, speechLines(3));
    const { expiresAt, outputFileId } = await untilOver(gateway, id);
    expect(lane.jobs[0]?.work.expiresAtSeconds).toBe(expiresAt + 3600);
    const expiryOf = async (fileId = '') =>
      (await files.get('anonymous', fileId))?.expiresAtSeconds ?? NaN;
    const outputExpiry = await expiryOf(outputFileId);
    expect(outputExpiry).toBeLessThan(expiresAt + 3600);
    await until(async () => (await expiryOf(lineFileId(id, 2))) === outputExpiry);
  });

  it('has an answer for each line that its endpoint refuses, and no output when that is all', async () => {
    const gateway = await openGateway();
    const lane = await openSpeech(gateway);
    const bodies = [{ input: '' }, { voice: 'nobody' }, { speed: 9 }, { stream_format: 'sse' }];
    const id = await createBatch(
      gateway,
      bodies.map((body, n) => speechLine(n, body)),
    );
    const batch = await untilOver(gateway, id);
    expect(batch).toMatchObject({ status: 'completed', completed: 0, failed: 4 });
    expect(batch.outputFileId).toBeUndefined();
    const answers = await readAnswers(gateway, batch.errorFileId);
    expect(idsOf(answers)).toEqual(wanted(4));
    const errors = answers.map(({ response }) => [response?.status_code, response?.body['error']]);
    expect(errors).toMatchObject([
      [400, { param: 'input' }],
      [400, { param: 'voice', message: expect.stringContaining("'ann'") }],
      [400, { param: 'speed', code: 'decimal_above_max_value' }],
      [400, { param: 'stream_format', code: 'unsupported_value' }],
    ]);
    expect(answers.every(({ error }) => error === null)).toBe(true);
    expect(lane.jobs).toEqual([]);
  });

  it("tells a worker's errors beside what went well", async () => {
    const gateway = await openGateway();
    await openSpeech(gateway, {
      handler: async (line) => {
        if (line.job.line === 1) throw new VoiceError('text_not_speakable');
        return speakAtOnce(line);
      },
    });
    const batch = await untilOver(gateway, await createBatch(gateway, speechLines(3)));
    expect(batch).toMatchObject({ status: 'completed', completed: 2, failed: 1 });
    expect(idsOf(await readAnswers(gateway, batch.outputFileId))).toEqual(['line-0', 'line-2']);
    const [error] = await readAnswers(gateway, batch.errorFileId);
    expect(error).toMatchObject({
      custom_id: 'line-1',
      response: { status_code: 400, body: { error: { code: 'text_not_speakable' } } },
    });
  });

  it('is answered with 404 throughout for a model that nobody has heard of', async () => {
    const gateway = await openGateway();
    await openSpeech(gateway);
    const lines = [0, 1].map((n) => speechLine(n, { model: 'unheard-of' }));
    const batch = await untilOver(gateway, await createBatch(gateway, lines));
    const answers = await readAnswers(gateway, batch.errorFileId);
    expect(answers.map(({ response }) => response?.status_code)).toEqual([404, 404]);
  });

  it('waits for a worker that is not there yet', async () => {
    const gateway = await openGateway();
    const id = await createBatch(gateway, speechLines(2));
    await until(async () => (await find(gateway, id)).status === 'in_progress');
    await openSpeech(gateway);
    expect(await untilOver(gateway, id)).toMatchObject({ status: 'completed', completed: 2 });
  });

  it('goes on although its client deletes the input', async () => {
    const gateway = await openGateway();
    const lane = await openSpeech(gateway, { takesLines: false });
    const id = await createBatch(gateway, speechLines(200));
    const { inputFileId } = await until(async () => {
      const batch = await find(gateway, id);
      return batch.status === 'in_progress' ? batch : undefined;
    });
    await gateway.context.fileBlobs.delete(inputFileId);
    await lane.takeLines();
    const batch = await untilOver(gateway, id);
    expect(idsOf(await readAnswers(gateway, batch.outputFileId))).toEqual(wanted(200));
  });
});

describe('an input with faults', () => {
  const faultsOf = async (
    lines: (Line | string)[] | Buffer,
    environment: NodeJS.ProcessEnv = {},
  ) => {
    const gateway = await openGateway(environment);
    const batch = await untilOver(gateway, await createBatch(gateway, lines));
    expect(batch).toMatchObject({ status: 'failed', total: 0 });
    await until(async () => (await readdir(join(directory, 'files'))).length === 1);
    return batch.faults ?? [];
  };

  it('is refused with all of them', async () => {
    const good = speechLine(0, { model: 'one' });
    const faults = await faultsOf([
      good,
      '{"custom_id": "x"',
      { ...good, custom_id: undefined },
      good,
      { ...good, custom_id: 'url', url: '/v1/chat/completions' },
      { ...good, custom_id: 'method', method: 'GET' },
      { ...good, custom_id: 'body', body: 'text' },
      speechLine(7, { model: 'two' }),
      '',
      { ...good, custom_id: 'x'.repeat(600) },
    ]);
    expect(faults.map(({ code, line, param }) => [line, code, param])).toEqual([
      [2, 'invalid_json_line', null],
      [3, 'missing_custom_id', 'custom_id'],
      [4, 'duplicate_custom_id', 'custom_id'],
      [5, 'url_mismatch', 'url'],
      [6, 'invalid_method', 'method'],
      [7, 'missing_body', 'body'],
      [8, 'model_mismatch', 'body.model'],
      [9, 'invalid_json_line', null],
      [10, 'invalid_custom_id', 'custom_id'],
    ]);
    expect(faults[0]?.message).toBe('This line is not parseable as valid JSON.');
  });

  it.each([
    ['empty', Buffer.alloc(0), 'empty_file', null],
    ['of blank lines', Buffer.from('\n \r\n\n'), 'empty_file', null],
    [
      'with a byte order mark',
      Buffer.from(`\uFEFF${jsonLines([speechLine(0)])}`),
      'invalid_json_line',
      1,
    ],
    ['that is no UTF-8', Buffer.from([0x7b, 0xff, 0x7d]), 'invalid_json_line', 1],
    ['that is not an object', Buffer.from('[]\n'), 'invalid_json_line', 1],
    ['with a line too long', Buffer.alloc(1_048_577, 'x'), 'line_too_long', 1],
  ])('one %s', async (_name, bytes, code, line) => {
    expect(await faultsOf(bytes)).toMatchObject([{ code, line }]);
  });

  it('one with too many lines', async () => {
    const faults = await faultsOf(speechLines(4), { MAX_BATCH_LINES: '3' });
    expect(faults).toMatchObject([{ code: 'too_many_tasks', line: null }]);
  });

  it('tells 100 faults at most', async () => {
    expect(await faultsOf(Array.from({ length: 300 }, () => '{'))).toHaveLength(100);
  });

  it('one that was deleted before anybody read it', async () => {
    const gateway = await openGateway();
    await gateway.runner.stop();
    const id = await createBatch(gateway, speechLines(1));
    await gateway.context.fileBlobs.delete((await find(gateway, id)).inputFileId);
    await openGateway();
    expect(await untilOver(gateway, id)).toMatchObject({
      ...{ status: 'failed', faults: [{ code: 'file_not_found' }] },
    });
  });
});

describe('the window', () => {
  it('keeps few lines of a large batch in the queue', async () => {
    const gateway = await openGateway();
    const waiting = () => redis.llen('bull:tts-scripted-batch:wait');
    let most = 0;
    await openSpeech(gateway, {
      concurrency: 4,
      handler: async (line) => {
        if (line.job.line % 50 === 0) most = Math.max(most, await waiting());
        return speakAtOnce(line);
      },
    });
    const id = await createBatch(gateway, speechLines(5000));
    const batch = await until(
      async () => {
        const found = await find(gateway, id);
        return isOver(found.status) ? found : undefined;
      },
      { timeoutMs: 30_000 },
    );
    expect(batch).toMatchObject({ status: 'completed', completed: 5000 });
    expect(idsOf(await readAnswers(gateway, batch.outputFileId))).toEqual(wanted(5000));
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThanOrEqual(64);
  });

  it('has 8 MiB of bodies at most, and goes on', async () => {
    const gateway = await openGateway();
    const sizes: number[] = [];
    const lane = await startScriptedLane<'chat'>({
      ...{ redisUrl: server.url, context: gateway.context, kind: 'chat', concurrency: 16 },
      ...{ announced: { models: ['scripted'] }, takesLines: false },
      handler: async () => {
        sizes.push(await redis.llen('bull:llm-scripted-batch:wait'));
        const body = { id: 'chatcmpl-1', object: 'chat.completion', created: 1, choices: [] };
        return { result: { type: 'completion', body: JSON.stringify(body) } };
      },
    });
    lanes.push(lane);
    const endpoint = '/v1/chat/completions';
    const content = 'x'.repeat(200_000);
    const lines = Array.from({ length: 150 }, (_, n) => ({
      ...{ ...speechLine(n), url: endpoint },
      body: { messages: [{ role: 'user', content }] },
    }));
    const id = await createBatch(gateway, lines, { endpoint });
    const waiting = () => redis.llen('bull:llm-scripted-batch:wait');
    await until(async () => (await waiting()) >= 41);
    await lane.takeLines();
    expect(await untilOver(gateway, id)).toMatchObject({ completed: 150, failed: 0 });
    expect(Math.max(...sizes)).toBeLessThanOrEqual(41);
  });
});

describe('when nothing moves', () => {
  /** Runs a batch with a short standstill; `walks`: when it began to walk over the input, ms of Redis' clock. */
  async function runAlone({ context }: TestGateway, id: string, leastStandstillMs: number) {
    const producer = new LineProducer(context.queueRedis, () => undefined);
    const monitor = await redis.monitor();
    const walks: number[] = [];
    monitor.on('monitor', (seconds: string, [command]: string[]) => {
      if (command?.toLowerCase() === 'hkeys') walks.push(Number(seconds) * 1000);
    });
    const stop = new AbortController();
    const running = new BatchRun({
      ...{ context, producer, batchId: id, signal: stop.signal },
      ...{ stopLines: async () => undefined, leastStandstillMs },
    }).run();
    return {
      walks,
      async end() {
        stop.abort();
        monitor.disconnect();
        await running;
        await producer.close();
      },
    };
  }

  it('jobs that Redis has lost are queued again', async () => {
    const gateway = await openGateway();
    await gateway.runner.stop();
    const lane = await openSpeech(gateway, { takesLines: false });
    const id = await createBatch(gateway, speechLines(100));
    const run = await runAlone(gateway, id, 100);
    const waiting = () => redis.llen('bull:tts-scripted-batch:wait');
    await until(async () => (await waiting()) >= 48);
    const lost = await redis.keys('bull:tts-scripted-batch:*');
    await redis.del(...lost);
    await until(async () => (await waiting()) >= 48);
    await lane.takeLines();
    expect(await untilOver(gateway, id)).toMatchObject({ status: 'completed', completed: 100 });
    await run.end();
  });

  it('what is queued is not judged again', async () => {
    const gateway = await openGateway();
    await gateway.runner.stop();
    const lane = await startScriptedLane<'transcription'>({
      ...{ redisUrl: server.url, context: gateway.context, kind: 'transcription' },
      ...{ announced: { models: ['scripted-stt'] }, takesLines: false },
      handler: async () => ({
        result: {
          ...{ type: 'transcript', segments: [], words: [], language: 'en', durationSeconds: 1 },
        },
      }),
    });
    lanes.push(lane);
    const { fileBlobs, files } = gateway.context;
    const recording = createFileId();
    const sound = Buffer.concat([Buffer.from('RIFF\0\0\0\0WAVEfmt '), Buffer.alloc(100)]);
    await fileBlobs.put(Readable.from([sound]), recording);
    await files.add({
      ...{ id: recording, tenantId: 'anonymous', bytes: sound.length, filename: 'a.wav' },
      ...{ purpose: 'user_data', createdAtSeconds: 1 },
    });
    const endpoint = '/v1/audio/transcriptions';
    const line = { ...speechLine(0), url: endpoint, body: { file_id: recording } };
    const id = await createBatch(gateway, [line], { endpoint });
    const run = await runAlone(gateway, id, 100);
    await until(async () => (await redis.llen('bull:stt-scripted-batch:wait')) === 1);
    await files.remove('anonymous', recording);
    await until(() => run.walks.length > 0);
    const walked = run.walks.length;
    await until(() => run.walks.length >= walked + 2, { timeoutMs: 10_000 });
    await lane.takeLines();
    expect(await untilOver(gateway, id)).toMatchObject({ completed: 1, failed: 0 });
    await run.end();
  });

  it('the next look at all of it is twice as far off', async () => {
    const gateway = await openGateway();
    await gateway.runner.stop();
    await openSpeech(gateway, { takesLines: false });
    const id = await createBatch(gateway, speechLines(1));
    const run = await runAlone(gateway, id, 900);
    const [first = 0, second = 0, third = 0] = await until(
      () => (run.walks.length >= 3 ? run.walks : undefined),
      { timeoutMs: 15_000 },
    );
    expect(second - first).toBeGreaterThanOrEqual(900);
    expect(third - second).toBeGreaterThanOrEqual(1800);
    await run.end();
  });
});

describe('the worker of a batch is away for a while', () => {
  const kokoro = {
    ...{ engine: 'openai', announced: { models: ['tts-1'], voices: [{ id: 'heart', name: '' }] } },
  };

  it.each([
    ['another engine has its model', ['tts-1']],
    ['no other engine has its model', ['tts-2']],
  ])('no line goes elsewhere, or is refused: %s', async (_name, models) => {
    const gateway = await openGateway();
    const lines = heldLines();
    const lane = await openSpeech(gateway, { ...kokoro, handler: lines.handler });
    const body = { model: 'tts-1', voice: 'heart' };
    const sent = Array.from({ length: 300 }, (_, n) => speechLine(n, body));
    const id = await createBatch(gateway, sent);
    await until(() => lines.held.size >= 4);
    const voices = [{ id: 'ann', name: '' }];
    await lane.leave();
    await redis.del('antiphon:workers'); // as a registry without persistence that was restarted
    const other = await openSpeech(gateway, { engine: 'flite', announced: { models, voices } });
    const known = () => gateway.context.directory.workersOf('tts').map(({ engine }) => engine);
    await until(() => known().join() === 'flite');
    lines.end();
    const batch = await untilOver(gateway, id);
    expect(batch).toMatchObject({ status: 'completed', completed: 300, failed: 0 });
    expect(other.jobs).toEqual([]);
  });
});

/** Lines that go on until they are told to end, or aborted. */
function heldLines() {
  const held = new Set<() => void>();
  let aborted = 0;
  let over = false;
  const handler: LineHandler<'speech'> = async (line: LineContext<'speech'>) => {
    if (over) return speakAtOnce(line);
    const ended = Promise.withResolvers<void>();
    held.add(ended.resolve);
    line.signal.addEventListener('abort', () => {
      aborted += 1;
      ended.reject(line.signal.reason as Error);
    });
    await ended.promise;
    return speakAtOnce(line);
  };
  return {
    handler,
    held,
    get aborted() {
      return aborted;
    },
    /** From now on lines are done at once. */
    end() {
      over = true;
      for (const resolve of held) resolve();
    },
  };
}

describe('a batch that is cancelled', () => {
  it('keeps what was done, and tells what was not', async () => {
    const gateway = await openGateway();
    const lines = heldLines();
    await openSpeech(gateway, {
      handler: (line) => (line.job.line < 2 ? speakAtOnce(line) : lines.handler(line)),
    });
    const id = await createBatch(gateway, speechLines(300));
    await until(async () => (await find(gateway, id)).completed === 2 && lines.held.size >= 4);
    const running = lines.held.size;
    expect(await gateway.context.batches.cancel('anonymous', id)).toBe('cancelling');
    const batch = await untilOver(gateway, id);
    expect(batch).toMatchObject({ status: 'cancelled', completed: 2, failed: 0, total: 300 });
    expect(idsOf(await readAnswers(gateway, batch.outputFileId))).toEqual(wanted(2));
    const undone = await readAnswers(gateway, batch.errorFileId);
    expect(idsOf(undone)).toEqual(wanted(300).slice(2));
    expect(undone[0]).toMatchObject({ response: null, error: { code: 'batch_cancelled' } });
    await until(() => lines.aborted === running);
  });

  it('before its input was read has no files', async () => {
    const gateway = await openGateway();
    await gateway.runner.stop();
    const id = await createBatch(gateway, speechLines(2));
    await gateway.context.batches.cancel('anonymous', id);
    await openGateway();
    const batch = await untilOver(gateway, id);
    expect(batch).toMatchObject({ status: 'cancelled', total: 0 });
    expect(batch.outputFileId ?? batch.errorFileId).toBeUndefined();
  });
});

it('a batch that expires keeps what was done, and tells what was not', async () => {
  const gateway = await openGateway();
  const lines = heldLines();
  await openSpeech(gateway, {
    handler: (line) => (line.job.line === 0 ? speakAtOnce(line) : lines.handler(line)),
  });
  const id = await createBatch(gateway, speechLines(3));
  await until(async () => (await find(gateway, id)).completed === 1 && lines.held.size === 2);
  await redis.hset(batchKey(id), 'expiresAt', 1);
  const batch = await untilOver(gateway, id);
  expect(batch).toMatchObject({ status: 'expired', completed: 1 });
  const undone = await readAnswers(gateway, batch.errorFileId);
  expect(undone.map(({ error }) => error?.code)).toEqual(['batch_expired', 'batch_expired']);
  await until(() => lines.aborted === 2);
});

describe('what a batch needs is lost', () => {
  async function openBatch() {
    const gateway = await openGateway();
    const lines = heldLines();
    await openSpeech(gateway, { handler: lines.handler });
    const id = await createBatch(gateway, speechLines(100));
    await until(() => lines.held.size >= 4);
    await gateway.context.fileBlobs.delete(inputBlobId(id));
    return { gateway, lines, id };
  }

  it('its copy of the input is made again', async () => {
    const { gateway, lines, id } = await openBatch();
    lines.end();
    const batch = await untilOver(gateway, id);
    expect(batch).toMatchObject({ status: 'completed', completed: 100 });
    expect(idsOf(await readAnswers(gateway, batch.outputFileId))).toEqual(wanted(100));
  });

  it.each(['done', 'cancelled', 'expired'])('the batch ends all the same, when %s', async (how) => {
    const { gateway, lines, id } = await openBatch();
    const { context } = gateway;
    await context.fileBlobs.delete((await find(gateway, id)).inputFileId);
    if (how === 'cancelled') await context.batches.cancel('anonymous', id);
    if (how === 'expired') await redis.hset(batchKey(id), 'expiresAt', 1);
    lines.end();
    const batch = await untilOver(gateway, id);
    expect(batch).toMatchObject({ status: 'failed', faults: [{ code: 'file_not_found' }] });
    expect(batch.outputFileId ?? batch.errorFileId).toBeUndefined();
    expect(await redis.exists(lineResultsKey(id))).toBe(0);
    await until(() => gateway.runner.size === 0);
  });
});

it.each(['kept', 'checked'])('an input that is being %s is let go at once', async (how) => {
  const gateway = await openGateway();
  await gateway.runner.stop();
  const { context } = gateway;
  const asked: string[] = [];
  const fileBlobs: BlobStore = {
    ...context.fileBlobs,
    async get(blobId) {
      asked.push(blobId);
      const endless = async function* () {
        for (;;) {
          yield Buffer.from('\n'); // blank lines are passed over
          await nextTurn();
        }
      };
      return Readable.from(endless(), { objectMode: false });
    },
    put: (source, blobId) =>
      how === 'kept'
        ? context.fileBlobs.put(source, blobId)
        : Promise.resolve({ blobId: 'b', sizeBytes: 1 }),
  };
  const id = await createBatch(gateway, speechLines(1));
  const stop = new AbortController();
  const producer = new LineProducer(context.queueRedis, () => undefined);
  const running = new BatchRun({
    ...{ context: { ...context, fileBlobs }, producer, batchId: id, signal: stop.signal },
    stopLines: async () => undefined,
  }).run();
  await until(() => asked.length === (how === 'kept' ? 1 : 2));
  stop.abort();
  expect(await running).toBe(false);
  await producer.close();
});

it('batches that wait for a worker give way to others, which can also be cancelled', async () => {
  const gateway = await openGateway();
  await gateway.runner.stop();
  const { context } = gateway;
  const chats = { endpoint: '/v1/chat/completions' } as const;
  const line = { ...speechLine(0), url: chats.endpoint, body: { messages: [] } };
  const first = await createBatch(gateway, [line], chats);
  const runner = new BatchRunner(context, redis, { mostRuns: 1, idleTurnMs: 200 });
  runner.start();
  try {
    await until(async () => (await find(gateway, first)).status === 'in_progress');
    const cancelled = await createBatch(gateway, [line], chats);
    await context.batches.cancel('anonymous', cancelled);
    expect(await untilOver(gateway, cancelled)).toMatchObject({ status: 'cancelled' });
    await openSpeech(gateway);
    const spoken = await createBatch(gateway, speechLines(3));
    expect(await untilOver(gateway, spoken)).toMatchObject({ completed: 3 });
    const third = await createBatch(gateway, [line], chats);
    await until(async () => (await find(gateway, third)).status === 'in_progress');
    await redis.hset(batchKey(first), 'expiresAt', 1);
    expect(await untilOver(gateway, first)).toMatchObject({ status: 'expired' });
  } finally {
    await runner.close();
  }
});

describe('gateways', () => {
  it('hand their batches over when they stop', async () => {
    const first = await openGateway();
    const lines = heldLines();
    await openSpeech(first, { handler: lines.handler });
    const id = await createBatch(first, speechLines(5));
    await until(() => lines.held.size >= 4);
    const second = await openGateway();
    expect(second.runner.size).toBe(0);
    await first.runner.close();
    await until(() => second.runner.size === 1, { timeoutMs: 2000 });
    await openSpeech(second);
    lines.end();
    const batch = await untilOver(second, id);
    expect(idsOf(await readAnswers(second, batch.outputFileId))).toEqual(wanted(5));
  });

  it('take the batches of one that died', async () => {
    const first = await openGateway();
    const lines = heldLines();
    const lane = await openSpeech(first, { handler: lines.handler });
    const id = await createBatch(first, speechLines(300));
    await until(() => lines.held.size >= 4);
    await first.runner.stop();
    const second = await openGateway();
    await until(() => second.runner.size === 1, { timeoutMs: 10_000 });
    await openSpeech(second);
    lines.end();
    const batch = await untilOver(second, id);
    expect(batch).toMatchObject({ status: 'completed', completed: 300 });
    expect(idsOf(await readAnswers(second, batch.outputFileId))).toEqual(wanted(300));
    expect(new Set(lane.jobs.map(({ line }) => line)).size).toBe(lane.jobs.length);
  });

  it('do no harm when two keep one', async () => {
    const [first, second] = [await openGateway(), await openGateway()];
    const lane = await openSpeech(first, { takesLines: false });
    const id = await createBatch(first, speechLines(500));
    // Whoever looks finds it unkept, as when a keeper could not tell in time that it is there.
    const unkeep = setInterval(() => void redis.zadd('antiphon:batches:open', 'XX', 0, id), 5);
    try {
      await until(() => first.runner.size === 1 && second.runner.size === 1);
      await lane.takeLines();
      const batch = await untilOver(first, id);
      expect(batch).toMatchObject({ status: 'completed', completed: 500, failed: 0 });
      await until(() => first.runner.size === 0 && second.runner.size === 0);
      expect(idsOf(await readAnswers(first, batch.outputFileId))).toEqual(wanted(500));
    } finally {
      clearInterval(unkeep);
    }
    expect(new Set(lane.jobs.map(({ line }) => line)).size).toBe(500);
  });

  it('wait while Redis is away, and go on', async () => {
    const gateway = await openGateway();
    const lines = heldLines();
    await openSpeech(gateway, { handler: lines.handler });
    const id = await createBatch(gateway, speechLines(200));
    await until(() => lines.held.size >= 4);
    await server.kill();
    await server.restart();
    lines.end();
    const batch = await until(
      async () => {
        const found = await gateway.context.batches.find(id).catch(() => undefined);
        return found && isOver(found.status) ? found : undefined;
      },
      { timeoutMs: 20_000 },
    );
    expect(batch).toMatchObject({ status: 'completed', completed: 200 });
    expect(idsOf(await readAnswers(gateway, batch.outputFileId))).toEqual(wanted(200));
  });
});
