import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { VoiceError } from '../errors/voice-error.ts';
import { openRedis } from '../queue/redis.ts';
import { OPENING } from '../testing/log-fixture.ts';
import { stateKey, tenantStreamsKey } from './stream-key.ts';
import { StreamLog } from './stream-log.ts';
import type { ScriptedRedis } from './stream-scripts.ts';
import { TenantStreams } from './tenant-streams.ts';

const DAY_MS = 86_400_000;
const ignore = () => undefined;

let server: RedisServer;
let redis: ScriptedRedis;
let log: StreamLog;
let streams: TenantStreams;

/** As the gateway does it: both at once. */
async function open(tenantId: string, streamId: string): Promise<string> {
  await Promise.all([
    log.open({ ...OPENING, tenantId }, streamId),
    streams.add(tenantId, streamId),
  ]);
  return streamId;
}
const idsOf = async (tenantId: string) =>
  (await streams.list(tenantId)).map(({ streamId }) => streamId);
const members = (tenantId: string) => redis.zrange(tenantStreamsKey(tenantId), '0', '-1');

beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'patient', onError: ignore });
  log = new StreamLog(redis);
  streams = new TenantStreams(redis);
});
beforeEach(() => redis.flushall());
afterAll(async () => {
  redis.disconnect();
  await server.close();
});

it('lists what a tenant has open, oldest first, with the fields asked for', async () => {
  await open('a', 's1');
  await open('b', 's2');
  await open('a', 's3');
  await redis.zadd(tenantStreamsKey('a'), 'XX', '1', 's3');
  expect(await streams.list('a', ['model', 'phraseCount'])).toEqual([
    { streamId: 's3', state: { status: 'open', model: 'm' } },
    { streamId: 's1', state: { status: 'open', model: 'm' } },
  ]);
  expect(await idsOf('b')).toEqual(['s2']);
  expect(await idsOf('nobody')).toEqual([]);
});

it('shows one of a tenant, ended or not, and to nobody else', async () => {
  await open('a', 's1');
  await log.finish('s1', new VoiceError('stream_cancelled'));
  expect(await streams.state('a', 's1', ['status', 'phraseCount'])).toEqual({
    tenantId: 'a',
    status: 'cancelled',
  });
  expect(await streams.state('b', 's1', ['status'])).toBeUndefined();
  expect(await streams.state('a', 's2', ['status'])).toBeUndefined();
});

it('scores by the clock of Redis and outlives every stream', async () => {
  await open('a', 's1');
  const [seconds] = await redis.time();
  const scoreMs = Number(await redis.zscore(tenantStreamsKey('a'), 's1'));
  expect(Math.abs(scoreMs - Number(seconds) * 1000)).toBeLessThan(60_000);
  const openedMs = Number((await log.state('s1'))?.['openedMs']);
  expect(Math.abs(scoreMs - openedMs)).toBeLessThan(60_000);
  expect(await redis.pttl(tenantStreamsKey('a'))).toBeGreaterThan(7 * DAY_MS);
});

it('leaves no key when the last one is removed', async () => {
  await open('a', 's1');
  await open('a', 's2');
  await streams.remove('a', 's1');
  await streams.remove('a', 's1');
  expect(await idsOf('a')).toEqual(['s2']);
  await streams.remove('a', 's2');
  expect(await redis.exists(tenantStreamsKey('a'))).toBe(0);
});

it('forgets what ended or vanished while nobody removed it', async () => {
  for (const streamId of ['s1', 's2', 's3']) await open('a', streamId);
  await log.finish('s1', new VoiceError('stream_cancelled'));
  await redis.del(stateKey('s2'));
  expect(await members('a')).toEqual(['s1', 's2', 's3']);
  expect(await idsOf('a')).toEqual(['s3']);
  expect(await members('a')).toEqual(['s3']);
  await log.finish('s3', new VoiceError('internal_error'));
  expect(await idsOf('a')).toEqual([]);
  expect(await redis.exists(tenantStreamsKey('a'))).toBe(0);
});

it('drops what is older than any stream when the next one is opened', async () => {
  await open('a', 's1');
  await redis.zadd(tenantStreamsKey('a'), 'XX', String(Date.now() - 9 * DAY_MS), 's1');
  await open('a', 's2');
  expect(await members('a')).toEqual(['s2']);
});

it('says that the storage is full', async () => {
  await redis.config('SET', 'maxmemory', '1');
  try {
    await expect(streams.add('a', 's1')).rejects.toMatchObject({ code: 'storage_full' });
  } finally {
    await redis.config('SET', 'maxmemory', '0');
  }
});
