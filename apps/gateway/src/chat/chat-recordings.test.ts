import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { transcriptionJobSchema } from '@antiphon/shared/jobs/job-catalog';
import { openRedis, whenReady } from '@antiphon/shared/queue/redis';
import { type BlobStore, openDiskBlobStore } from '@antiphon/shared/storage/blob-store';
import { TranscriptStore } from '@antiphon/shared/storage/transcript-store';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { parseConfig } from '../config.ts';
import type { Route } from '../models/worker-directory.ts';
import { type AudioPart, extractAudioParts } from '../openai/audio-parts.ts';
import { MAX_NEW_RECORDINGS, storeChatRecordings } from './chat-recordings.ts';

const config = parseConfig({ AUDIO_ID_TTL_MS: '900000', TOTAL_TIMEOUT_MS: '5000' });
const heard = { text: 'hello', durationSeconds: 1 };

let server: RedisServer;
let redis: ReturnType<typeof openRedis>;
let transcripts: TranscriptStore;
let directory: string;
let blobs: BlobStore;
beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'command', onError: () => undefined });
  await whenReady(redis);
  transcripts = new TranscriptStore(redis);
  directory = await mkdtemp(join(tmpdir(), 'antiphon-recordings-'));
  blobs = await openDiskBlobStore(directory);
});
beforeEach(async () => {
  await redis.flushall();
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
  await rm(directory, { recursive: true });
});

const route = (model: string): Route => ({
  model,
  worker: {
    ...{ version: 1, workerId: 'w', stage: 'stt', engine: 'e', queueName: 'stt-e' },
    ...{ models: [model], concurrency: 1, startedAtSeconds: 1, live: true, alive: true },
  },
});

const bytesOf = (name: string) => Buffer.from(`RIFF....WAVEfmt ${name}`);
const partsOf = (...names: string[]): Promise<AudioPart[]> =>
  extractAudioParts(
    names.map((name) => {
      const data = bytesOf(name).toString('base64');
      const part = { type: 'input_audio', input_audio: { data, format: 'wav' } };
      return { role: 'user', content: [part] };
    }),
    1000,
  );

const store = (parts: AudioPart[], { model = 'm', tenantId = 'default', into = blobs } = {}) =>
  storeChatRecordings(
    { config, blobs: into, gatewayId: 'g1' },
    { parts, route: route(model), tenantId, transcripts },
  );

it('stores each content once and has a job for each', async () => {
  const parts = await partsOf('one', 'two', 'one');
  const recordings = await store(parts);
  const jobs = recordings.jobsOf('s1');
  expect(jobs.map(({ jobId }) => jobId)).toEqual(['s1-t0', 's1-t1']);
  expect(await readdir(directory)).toHaveLength(2);
  for (const [index, { queueName, data }] of jobs.entries()) {
    expect(queueName).toBe('stt-e');
    expect(transcriptionJobSchema.parse(data)).toStrictEqual({
      ...{ version: 1, streamId: 's1', tenantId: 'default', gatewayId: 'g1', model: 'm' },
      ...{ format: 'wav', sizeBytes: 19, operation: 'transcribe', wordTimes: false },
      ...{ maxAudioSeconds: 7200, blobId: data.blobId },
      chatPart: {
        partIndex: index,
        transcriptKey: recordings.keyOf(parts[index] as AudioPart),
        keepMs: 900_000,
        param: `messages[${index === 0 ? 2 : 1}].content[0].input_audio.data`,
      },
    });
    const blob = await blobs.get(data.blobId);
    expect(blob && (await buffer(blob))).toEqual(bytesOf(index === 0 ? 'one' : 'two'));
  }
  expect(parts.map((part) => recordings.keyOf(part))[2]).toBe(
    jobs[0]?.data.chatPart?.transcriptKey,
  );
  await recordings.delete();
  expect(await readdir(directory)).toEqual([]);
});

it('what was heard in an earlier turn is not transcribed again, and lives on', async () => {
  const parts = await partsOf('one', 'two');
  const first = await store(parts);
  const [job] = first.jobsOf('s1');
  const key = job?.data.chatPart?.transcriptKey ?? '';
  await transcripts.keep(key, heard, 60_000);
  await first.delete();
  expect(first.heardSeconds).toBe(0);
  const second = await store(parts);
  expect(second.heardSeconds).toBe(heard.durationSeconds);
  expect(second.jobsOf('s2').map(({ data }) => data.chatPart)).toMatchObject([{ partIndex: 0 }]);
  expect(second.jobsOf('s2')[0]?.data.chatPart?.transcriptKey).not.toBe(key);
  expect(await readdir(directory)).toHaveLength(1);
  expect(await redis.pttl(key)).toBeGreaterThan(60_000);
  await second.delete();
});

it('is asked of each model and for each tenant on its own', async () => {
  const parts = await partsOf('one');
  const key = transcripts.keyOf({
    ...{ tenantId: 'default', model: 'm', sha256: parts[0]?.sha256 ?? '' },
  });
  await transcripts.keep(key, heard, 60_000);
  const jobCounts = [];
  for (const options of [{}, { model: 'n' }, { tenantId: 'key-1' }]) {
    const recordings = await store(parts, options);
    jobCounts.push(recordings.jobsOf('s').length);
    await recordings.delete();
  }
  expect(jobCounts).toEqual([0, 1, 1]);
});

it('a conversation may have many, a request few new ones', async () => {
  const names = Array.from({ length: MAX_NEW_RECORDINGS + 1 }, (_, index) => `n${index}`);
  const parts = await partsOf(...names);
  await expect(store(parts)).rejects.toMatchObject({ code: 'invalid_value', param: 'messages' });
  expect(await readdir(directory)).toEqual([]);
  const first = await store(parts.slice(1));
  for (const { data } of first.jobsOf('s')) {
    await transcripts.keep(data.chatPart?.transcriptKey ?? '', heard, 60_000);
  }
  await first.delete();
  const next = await store(parts);
  expect(next.jobsOf('s')).toHaveLength(1);
  await next.delete();
});

it('leaves nothing behind when a file cannot be stored', async () => {
  let count = 0;
  const failing: BlobStore = {
    ...blobs,
    put: async (source) => {
      count += 1;
      if (count === 2) throw new Error('no space left');
      return blobs.put(source);
    },
  };
  const parts = await partsOf('one', 'two', 'three');
  await expect(store(parts, { into: failing })).rejects.toThrow('no space left');
  expect(count).toBe(3);
  expect(await readdir(directory)).toEqual([]);
});

it('while Redis is away: queue_unavailable, and nothing is stored', async () => {
  const parts = await partsOf('one');
  await server.kill();
  await expect(store(parts)).rejects.toMatchObject({ code: 'queue_unavailable' });
  expect(await readdir(directory)).toEqual([]);
  await server.restart();
});
