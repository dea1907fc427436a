import { randomBytes } from 'node:crypto';
import { openAsBlob } from 'node:fs';
import { mkdtemp, open, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type OpenAIServer, startOpenAIServer } from '@antiphon/testing/openai-server';
import { type S3Server, startS3Server } from '@antiphon/testing/s3-server';
import { until } from '@antiphon/testing/until';
import OpenAI, { NotFoundError, toFile } from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hum } from './recording.ts';
import { residentBytes, type Stack, startStack } from './stack.ts';

const LARGE_BYTES = 200 * 1024 * 1024;
const WARM_BYTES = 64 * 1024 * 1024;
/** What a gateway may grow by while it takes or gives such a file. */
const MOST_GROWTH_BYTES = 60 * 1024 * 1024;

let directory: string;
let largePath: string;
let s3: S3Server;
let upstream: OpenAIServer;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'antiphon-files-'));
  largePath = join(directory, 'large.jsonl');
  const file = await open(largePath, 'w');
  const piece = randomBytes(1024 * 1024);
  for (let written = 0; written < LARGE_BYTES; written += piece.length) await file.write(piece);
  await file.close();
  s3 = await startS3Server();
  upstream = await startOpenAIServer();
});
afterAll(async () => {
  await s3?.close();
  await upstream?.close();
  await rm(directory, { recursive: true, force: true });
});

/** The most that a process holds while `work` is done, above what it held before. */
async function growthOf(pid: number, work: () => Promise<unknown>): Promise<number> {
  const before = await residentBytes(pid);
  let most = before;
  let working = true;
  const watch = until(
    async () => {
      most = Math.max(most, await residentBytes(pid));
      return !working;
    },
    { timeoutMs: 100_000, intervalMs: 20, what: 'the end of the work' },
  );
  await work().finally(() => {
    working = false;
  });
  await watch;
  return most - before;
}

describe.each([
  ['disk', LARGE_BYTES],
  ['S3', LARGE_BYTES / 2],
])('files on %s', (place, largeBytes) => {
  let stack: Stack;
  let openai: OpenAI;
  beforeAll(async () => {
    stack = await startStack({
      apps: ['gateway', 'stt-worker'],
      environment: {
        ...(place === 'S3' ? { ...s3.environment, S3_PREFIX: 'voice' } : {}),
        STT_SERVICE: 'openai',
        OPENAI_BASE_URL: upstream.baseUrl,
        STT_OPENAI_MODELS: 'whisper-1',
      },
      models: ['whisper-1'],
    });
    openai = new OpenAI({ baseURL: stack.baseUrl, apiKey: 'unused', maxRetries: 0 });
  });
  afterAll(() => stack?.close());

  const listed = async () =>
    place === 'S3'
      ? [...s3.bucket.objects.keys()].map((key) => key.replace('voice/files/', ''))
      : readdir(join(stack.dataDirectory, 'files'));
  /** But for the mark of whose store it is. */
  const stored = async () => (await listed()).filter((name) => name !== 'installation');
  const upload = (text: string, options: Partial<OpenAI.FileCreateParams> = {}) =>
    openai.files.create({
      file: new File([text], 'lines.jsonl'),
      purpose: 'batch',
      ...options,
    });

  it('create, retrieve, content, delete', async () => {
    const file = await upload('{"a":1}\n', {
      expires_after: { anchor: 'created_at', seconds: 3600 },
    });
    expect(file).toMatchObject({ object: 'file', bytes: 8, filename: 'lines.jsonl' });
    expect(file.expires_at).toBe(file.created_at + 3600);
    expect(await openai.files.retrieve(file.id)).toEqual(file);
    expect(await (await openai.files.content(file.id)).text()).toBe('{"a":1}\n');
    const part = await openai.files.content(file.id, { headers: { range: 'bytes=2-4' } });
    expect([part.status, await part.text()]).toEqual([206, 'a":']);
    expect(await stored()).toEqual([file.id]);
    expect(await openai.files.delete(file.id)).toEqual({
      ...{ id: file.id, object: 'file', deleted: true },
    });
    expect(await stored()).toEqual([]);
    await expect(openai.files.retrieve(file.id)).rejects.toBeInstanceOf(NotFoundError);
  });

  it('pages by themselves', async () => {
    const files = [];
    for (let number = 0; number < 5; number += 1) files.push(await upload(String(number)));
    await upload('other', { purpose: 'user_data' });
    const listed: string[] = [];
    for await (const file of openai.files.list({ limit: 2, purpose: 'batch', order: 'asc' })) {
      listed.push(file.id);
    }
    expect(listed).toEqual(files.map(({ id }) => id));
    for await (const { id } of openai.files.list({ limit: 2 })) await openai.files.delete(id);
    expect(await stored()).toEqual([]);
  });

  it('a recording reaches its worker', async () => {
    const file = await toFile(hum(1), 'hum.wav');
    const { text } = await openai.audio.transcriptions.create({ file, model: 'whisper-1' });
    expect(text).not.toBe('');
    const sent = upstream.requestsTo('/audio/transcriptions').at(-1)?.files['file']?.[0];
    expect(sent?.bytes.length).toBeGreaterThan(40_000);
    await until(async () => (await stored()).length === 0, { what: 'an upload that is deleted' });
  });

  it(`${largeBytes} bytes in and out leave memory flat`, async () => {
    const [gateway] = stack.processes;
    const pid = gateway?.pid ?? 0;
    const large = (await openAsBlob(largePath)).slice(0, largeBytes);
    const send = async (file: Blob) => {
      const form = new FormData();
      form.set('purpose', 'batch');
      form.set('file', file, 'large.jsonl');
      const response = await fetch(`${stack.baseUrl}/files`, { method: 'POST', body: form });
      return (await response.json()) as { id: string; bytes: number };
    };
    const read = async (fileId: string) => {
      let readBytes = 0;
      const { body } = await openai.files.content(fileId);
      for await (const part of body ?? []) readBytes += (part as Uint8Array).length;
      return readBytes;
    };
    // V8 first lets buffers pile up to some 60 MB, whatever the size; 800 MB then cost 1 MB more.
    const first = await send(large.slice(0, WARM_BYTES));
    expect(await read(first.id)).toBe(WARM_BYTES);
    let file = first;
    const inBytes = await growthOf(pid, async () => {
      file = await send(large);
    });
    expect(file.bytes).toBe(largeBytes);
    const outBytes = await growthOf(pid, async () => {
      expect(await read(file.id)).toBe(largeBytes);
    });
    expect(inBytes).toBeLessThan(MOST_GROWTH_BYTES);
    expect(outBytes).toBeLessThan(MOST_GROWTH_BYTES);
    for (const { id } of [first, file]) await openai.files.delete(id);
  });
});
