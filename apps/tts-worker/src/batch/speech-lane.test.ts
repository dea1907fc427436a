import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { SAMPLE_RATE_HZ } from '@antiphon/shared/audio/audio-format';
import { createBatchId, lineFileId } from '@antiphon/shared/batches/batch-key';
import { BatchStore } from '@antiphon/shared/batches/batch-store';
import { LineProducer } from '@antiphon/shared/batches/line-producer';
import { FileIndex } from '@antiphon/shared/files/file-index';
import { blobIdOf } from '@antiphon/shared/files/file-record';
import { type BatchLineJob, batchQueueName } from '@antiphon/shared/jobs/batch-line-job';
import { openRedis, whenReady } from '@antiphon/shared/queue/redis';
import { openDiskBlobStore } from '@antiphon/shared/storage/blob-store';
import { decodeToPcm } from '@antiphon/testing/decode-audio';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { afterAll, beforeAll, expect, it } from 'vitest';

const MAIN = new URL('../main.ts', import.meta.url).pathname;
const LINES = 24;

let server: RedisServer;
let redis: ReturnType<typeof openRedis>;
let dataDir: string;
const workers: ChildProcess[] = [];

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'antiphon-speech-lane-'));
  server = await startRedis();
  redis = openRedis(server.url, { role: 'patient', onError: () => undefined });
  await whenReady(redis);
});
afterAll(async () => {
  for (const worker of workers) {
    if (worker.exitCode !== null || worker.signalCode !== null) continue;
    worker.kill('SIGKILL');
    await once(worker, 'exit');
  }
  redis.disconnect();
  await server.close();
  await rm(dataDir, { recursive: true });
});

function startWorker(): ChildProcess {
  const worker = spawn(process.execPath, [MAIN], {
    env: {
      ...{ PATH: process.env['PATH'], REDIS_URL: server.url, DATA_DIR: dataDir },
      ...{ TTS_SERVICE: 'flite', LOG_LEVEL: 'silent', SHUTDOWN_DRAIN_MS: '3000' },
      ...{ LOCK_DURATION_MS: '2000', STALLED_INTERVAL_MS: '500' },
    },
    stdio: 'ignore',
  });
  workers.push(worker);
  return worker;
}

const jobOf = (batchId: string, line: number): BatchLineJob => ({
  ...{ version: 1, batchId, line, tenantId: 't', model: 'flite' },
  work: {
    ...{ type: 'speech', voice: 'slt', speed: 1, format: line % 2 === 0 ? 'wav' : 'mp3' },
    phrases: [
      { text: `This is line number ${line}.`, pause: 'sentence' },
      { text: 'It has a second phrase.', pause: 'sentence' },
    ],
    expiresAtSeconds: 4_000_000_000,
  },
});

it('a batch is whole although its worker is killed and the next one told to stop', async () => {
  const batches = new BatchStore(redis);
  const files = new FileIndex(redis);
  const producer = new LineProducer(redis, () => undefined);
  const batchId = createBatchId();
  await batches.create({
    ...{ id: batchId, tenantId: 't', endpoint: '/v1/audio/speech', inputFileId: 'file-in' },
    ...{ completionWindow: '24h', windowSeconds: 3600, outputLifeSeconds: 60 },
  });
  await batches.start(batchId, { total: LINES, model: 'flite' });
  const numbers = Array.from({ length: LINES }, (_, line) => line);
  await producer.enqueue(
    batchQueueName('tts', 'flite'),
    numbers.map((line) => jobOf(batchId, line)),
  );
  const done = async () => (await batches.doneLines(batchId)).size;
  const timeoutMs = 30_000;

  const first = startWorker();
  await until(async () => (await done()) >= 4, { timeoutMs });
  first.kill('SIGKILL');
  await once(first, 'exit');
  const doneBefore = await done();
  const second = startWorker();
  await until(async () => (await done()) >= doneBefore + 4, { timeoutMs });
  second.kill('SIGTERM');
  await once(second, 'exit');
  startWorker();
  await until(async () => (await done()) === LINES, { timeoutMs });

  expect(await batches.get('t', batchId)).toMatchObject({ completed: LINES, failed: 0 });
  const fileBlobs = await openDiskBlobStore(join(dataDir, 'files'));
  const results = await batches.results(batchId, numbers);
  for (const [line, result] of results.entries()) {
    if (result?.type !== 'speech') throw new Error(`line ${line}: ${result?.type}`);
    const fileId = lineFileId(batchId, line);
    const file = await files.get('t', fileId);
    const blob = file && (await fileBlobs.get(blobIdOf(file)));
    if (!blob) throw new Error(`line ${line} has no file`);
    const bytes = await buffer(blob);
    expect(result).toMatchObject({ fileId, bytes: bytes.length });
    expect(file).toMatchObject({ bytes: bytes.length });
    const samples = await decodeToPcm(bytes, { sampleRateHz: SAMPLE_RATE_HZ });
    const heardMs = (samples.length * 1000) / SAMPLE_RATE_HZ;
    expect(result.durationMs).toBeGreaterThan(1500);
    // An mp3 has up to 70 ms more: its delay, and whole frames.
    expect(Math.abs(heardMs - result.durationMs - 35)).toBeLessThan(40);
  }
  // What a killed worker has not recorded is nobody's file: one per line that it had.
  const whole = (await readdir(join(dataDir, 'files'))).filter((name) => !name.endsWith('.part'));
  const known = await Promise.all(whole.map((name) => files.hasBlob(name)));
  expect(known.filter(Boolean)).toHaveLength(LINES);
  await producer.close();
}, 180_000);
