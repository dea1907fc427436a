import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { LineContext } from '@antiphon/shared/batches/line-handler';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { TranscriptionLine } from '@antiphon/shared/jobs/batch-line-job';
import type {
  STTService,
  TranscriptEvent,
  TranscriptionRequest,
} from '@antiphon/shared/services/stt-service';
import { type BlobStore, openDiskBlobStore } from '@antiphon/shared/storage/blob-store';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { createTranscriptionLineHandler } from './transcription-line-handler.ts';

let directory: string;
let fileBlobs: BlobStore;
/** What happened, in order. */
let events: string[];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'antiphon-lines-'));
  const disk = await openDiskBlobStore(directory);
  await disk.put(Readable.from([Buffer.alloc(3200)]), 'file-a');
  fileBlobs = {
    ...disk,
    async local(blobId) {
      const found = await disk.local(blobId);
      const release = async () => void events.push('release');
      return found && { ...found, release };
    },
  };
});
beforeEach(() => {
  events = [];
});
afterAll(() => rm(directory, { recursive: true, force: true }));

type Transcribe = STTService['transcribe'];
const segment = (text: string): TranscriptEvent => ({
  type: 'segment',
  segment: { text, startSeconds: 0, endSeconds: 1, averageLogProbability: -1 },
  words: [{ word: text, startSeconds: 0, endSeconds: 1 }],
});
const finish: TranscriptEvent = { type: 'finish', language: 'en', durationSeconds: 2 };

async function run(
  transcribe: Transcribe,
  given: Partial<TranscriptionLine> = {},
  changes: Partial<LineContext<'transcription'>> = {},
) {
  const service: STTService = {
    languages: 'any',
    listModels: async () => ({ models: ['m'] }),
    transcribe,
    close: async () => undefined,
  };
  return createTranscriptionLineHandler({ service, fileBlobs })({
    job: {
      ...{ version: 1, batchId: 'batch_1', line: 3, tenantId: 'one', model: 'm' },
      work: {
        ...{ type: 'transcription', fileId: 'file-a', format: 'wav', sizeBytes: 3200 },
        ...{ operation: 'translate', language: 'de', prompt: 'p', temperature: 0.5 },
        ...{ wordTimes: true, maxAudioSeconds: 60, ...given },
      },
    },
    signal: new AbortController().signal,
    async takeTurn() {
      events.push('turn');
      return () => void events.push('turn over');
    },
    ...changes,
  });
}

it('gives the whole transcript, within one turn, in the background', async () => {
  const seen: TranscriptionRequest[] = [];
  const outcome = await run(async function* (request) {
    seen.push(request);
    events.push('engine');
    yield segment('hello');
    yield segment('world');
    yield finish;
  });
  expect(outcome).toEqual({
    result: {
      type: 'transcript',
      segments: [
        { text: 'hello', startSeconds: 0, endSeconds: 1, averageLogProbability: -1 },
        { text: 'world', startSeconds: 0, endSeconds: 1, averageLogProbability: -1 },
      ],
      words: [
        { word: 'hello', startSeconds: 0, endSeconds: 1 },
        { word: 'world', startSeconds: 0, endSeconds: 1 },
      ],
      language: 'en',
      durationSeconds: 2,
    },
  });
  expect(events).toEqual(['turn', 'engine', 'turn over', 'release']);
  const { audio, ...asked } = seen[0] ?? {};
  expect(asked).toEqual({
    ...{ model: 'm', operation: 'translate', wordTimes: true, background: true },
    ...{ language: 'de', prompt: 'p', temperature: 0.5 },
  });
  expect(audio).toMatchObject({ format: 'wav', sizeBytes: 3200 });
});

it('takes silence for an answer', async () => {
  const { result } = await run(async function* () {
    yield finish;
  });
  expect(result).toMatchObject({ segments: [], words: [], durationSeconds: 2 });
});

it('has no turn for a file that is gone', async () => {
  const gone = run(
    async function* () {
      yield finish;
    },
    { fileId: 'file-gone' },
  );
  await expect(gone).rejects.toMatchObject({ code: 'file_not_found', param: 'file_id' });
  expect(events).toEqual([]);
});

it.each([
  ['invalid_file_format', 'file', 'file_id'],
  ['unsupported_language', 'language', 'language'],
] as const)('%s of its %s is told as of %s', async (code, param, told) => {
  const failed = run(async function* () {
    yield segment('half');
    throw new VoiceError(code, { param, message: 'no' });
  });
  await expect(failed).rejects.toMatchObject({ code, message: 'no', param: told });
  expect(events).toEqual(['turn', 'turn over', 'release']);
});

it('reads what the engine asks for, as far as it may', async () => {
  const tooLong = run(
    async function* ({ audio }, signal) {
      for await (const piece of audio.pcm(16_000, signal)) events.push(`${piece.length}`);
      yield finish;
    },
    { fileId: 'file-a' },
  );
  await expect(tooLong).rejects.toMatchObject({ code: 'invalid_file_format', param: 'file_id' });
});

it('takes an engine that ends without finish for failed', async () => {
  const half = run(async function* () {
    yield segment('half');
  });
  await expect(half).rejects.toMatchObject({ code: 'engine_failed' });
});

it('that is stopped while it waits, or in the middle, leaves nothing open', async () => {
  const reason = new Error('batch over');
  const waiting = run(
    async function* () {
      yield finish;
    },
    {},
    { takeTurn: () => Promise.reject(reason) },
  );
  await expect(waiting).rejects.toBe(reason);
  expect(events).toEqual(['release']);
  const stopped = new AbortController();
  const running = run(
    async function* (_request, signal) {
      yield segment('a');
      stopped.abort(reason);
      signal.throwIfAborted();
    },
    {},
    { signal: stopped.signal },
  );
  await expect(running).rejects.toBe(reason);
  expect(events).toEqual(['release', 'turn', 'turn over', 'release']);
});
