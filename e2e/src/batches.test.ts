import { createHash } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { decodeToPcm } from '@antiphon/testing/decode-audio';
import { recordingOf, speak } from '@antiphon/testing/spoken-recording';
import { until } from '@antiphon/testing/until';
import OpenAI, { toFile } from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Stack, startStack } from './stack.ts';

/** Batches as a client of the official SDK has them, by processes of their own. */
let stack: Stack;
let openai: OpenAI;

const SAMPLE_RATE_HZ = 24_000;

beforeAll(async () => {
  stack = await startStack({
    apps: ['gateway', 'tts-worker', 'stt-worker', 'llm-worker'],
    environment: {
      ...{ TTS_SERVICE: 'flite', STT_SERVICE: 'pocketsphinx', AI_SERVICE: 'demo' },
    },
    models: ['flite', 'pocketsphinx', 'demo'],
  });
  openai = new OpenAI({ baseURL: stack.baseUrl, apiKey: 'none', maxRetries: 0 });
}, 60_000);
afterAll(async () => {
  await stack?.close();
});

interface Answer {
  id: string;
  custom_id: string;
  response: { status_code: number; request_id: string; body: Record<string, unknown> };
  error: null;
}

/** All in one: uploaded, made, waited for, read. Lines are named `line-0`… */
async function runBatch(endpoint: string, bodies: object[]) {
  const lines = bodies.map((body, number) =>
    JSON.stringify({ custom_id: `line-${number}`, method: 'POST', url: endpoint, body }),
  );
  const file = await toFile(Buffer.from(`${lines.join('\n')}\n`), 'lines.jsonl');
  const { id: inputFileId } = await openai.files.create({ purpose: 'batch', file });
  const { id } = await openai.batches.create({
    input_file_id: inputFileId,
    endpoint: endpoint as OpenAI.BatchCreateParams['endpoint'],
    completion_window: '24h',
  });
  const batch = await until(
    async () => {
      const found = await openai.batches.retrieve(id);
      return /^(completed|failed|expired|cancelled)$/.test(found.status) ? found : undefined;
    },
    { what: `the end of the batch for ${endpoint}`, timeoutMs: 30_000, intervalMs: 100 },
  );
  return {
    batch,
    output: await read(batch.output_file_id),
    errors: await read(batch.error_file_id),
  };
}

async function read(fileId: string | null | undefined): Promise<Answer[]> {
  if (!fileId) return [];
  const text = await (await openai.files.content(fileId)).text();
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Answer);
}

const names = (count: number) => Array.from({ length: count }, (_, number) => `line-${number}`);
const FORMATS = ['mp3', 'wav', 'opus', 'flac', 'pcm'] as const;

async function samplesOf(bytes: Buffer, format: string): Promise<number> {
  if (format === 'pcm') return bytes.length / 2;
  return (await decodeToPcm(bytes, { sampleRateHz: SAMPLE_RATE_HZ })).length;
}

describe('a batch', () => {
  it('of 20 texts is 20 sounds, each as long as it says and as the endpoint would speak it', async () => {
    const bodies = Array.from({ length: 20 }, (_, number) => ({
      model: 'flite',
      voice: number % 2 === 0 ? 'slt' : 'rms',
      input: `This is the sound of line number ${number}. It has a second sentence.`,
      response_format: FORMATS[number % FORMATS.length],
    }));
    const { batch, output, errors } = await runBatch('/v1/audio/speech', bodies);
    expect(batch).toMatchObject({
      ...{ status: 'completed', model: 'flite', errors: null, error_file_id: null },
      request_counts: { total: 20, completed: 20, failed: 0 },
    });
    expect(errors).toEqual([]);
    expect(output.map((answer) => answer.custom_id)).toEqual(names(20));
    expect(new Set(output.map((answer) => answer.id)).size).toBe(20);
    for (const [number, { response }] of output.entries()) {
      const { voice, response_format: format = '' } = bodies[number] ?? {};
      const { body } = response;
      expect(response.status_code).toBe(200);
      expect(body).toMatchObject({ object: 'audio.speech', model: 'flite', voice, format });
      const sound = await openai.files.content(String(body['file_id']));
      expect(sound.headers.get('content-type')).toBe(body['content_type']);
      const bytes = Buffer.from(await sound.arrayBuffer());
      expect(bytes.length).toBe(body['bytes']);
      const seconds = (await samplesOf(bytes, format)) / SAMPLE_RATE_HZ;
      // Encoders pad the last frame.
      expect(Math.abs(seconds - Number(body['duration_ms']) / 1000)).toBeLessThan(0.1);
      expect(seconds).toBeGreaterThan(1);
    }
  });

  it('speaks what the endpoint speaks, sample by sample', async () => {
    const body = { model: 'flite', voice: 'slt', input: 'Good morning. How are you today?' };
    const { output } = await runBatch('/v1/audio/speech', [{ ...body, response_format: 'pcm' }]);
    const fileId = String(output[0]?.response.body['file_id']);
    const [later, now] = await Promise.all(
      [
        openai.files.content(fileId),
        openai.audio.speech.create({ ...body, response_format: 'pcm' }),
      ].map(async (asked) => Buffer.from(await (await asked).arrayBuffer())),
    );
    const hash = (bytes: Buffer | undefined) =>
      createHash('sha256')
        .update(bytes ?? '')
        .digest('hex');
    expect(hash(later)).toBe(hash(now));
  });

  it('of 3 recordings is what they say, in each format', async () => {
    const pcm = await speak('good morning everybody');
    const wav = await buffer(recordingOf(pcm).bytes());
    const { id: fileId } = await openai.files.create({
      ...{ purpose: 'user_data', file: await toFile(wav, 'morning.wav') },
    });
    const { batch, output } = await runBatch('/v1/audio/transcriptions', [
      { file_id: fileId, model: 'pocketsphinx' },
      { file_id: fileId, model: 'pocketsphinx', response_format: 'srt' },
      {
        ...{ file_id: fileId, model: 'pocketsphinx', response_format: 'verbose_json' },
        timestamp_granularities: ['word', 'segment'],
      },
    ]);
    expect(batch.request_counts).toEqual({ total: 3, completed: 3, failed: 0 });
    expect(output.map((answer) => answer.custom_id)).toEqual(names(3));
    const [json, srt, verbose] = output.map(({ response }) => response.body);
    expect(json?.['text']).toMatch(/good morning/i);
    expect(srt?.['text']).toMatch(/^1\n00:00:0\d,\d{3} --> 00:00:0\d,\d{3}\n.*good morning/i);
    const seconds = pcm.length / 2 / 16_000;
    expect(verbose).toMatchObject({ task: 'transcribe', language: 'english' });
    expect(Math.abs(Number(verbose?.['duration']) - seconds)).toBeLessThan(0.05);
    expect(verbose?.['words']).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ word: expect.stringMatching(/morning/i) }),
      ]),
    );
  });

  it('of 5 chats is 5 answers, and says what they took', async () => {
    const questions = [1, 2, 3, 4, 5].map((number) => ({
      messages: [{ role: 'user', content: `What is ${number} plus ${number}?` }],
    }));
    const { batch, output } = await runBatch('/v1/chat/completions', questions);
    expect(batch.request_counts).toEqual({ total: 5, completed: 5, failed: 0 });
    expect(output.map((answer) => answer.custom_id)).toEqual(names(5));
    for (const [index, { response }] of output.entries()) {
      const { body } = response;
      const [choice] = body['choices'] as { message: { content: string } }[];
      expect(body).toMatchObject({ object: 'chat.completion', model: 'demo' });
      expect(choice?.message.content).toContain(String((index + 1) * 2));
    }
    const usages = output.map(({ response }) => response.body['usage'] as { total_tokens: number });
    const total = usages.reduce((sum, usage) => sum + usage.total_tokens, 0);
    expect(total).toBeGreaterThan(0);
    expect(batch.usage?.total_tokens).toBe(total);
  });
});
