import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type {
  STTService,
  TranscriptEvent,
  TranscriptionRequest,
  TranscriptSegment,
  TranscriptWord,
} from '@antiphon/shared/services/stt-service';
import { recordingOf, silence, speak, type TestRecording } from '../spoken-recording.ts';
import { SPOKEN_SENTENCES } from '../spoken-sentences.ts';
import { PATIENCE, until } from '../until.ts';
import { openResources } from './tts-service-contract.ts';

/** What lies on the recording that comes next. */
export interface RecordedSpeech {
  /** One per sentence; none for silence. */
  sentences: string[];
  seconds: number;
  /** The answer must not come before the request is given up. */
  endless?: boolean;
}

export interface STTContract {
  create: () => Promise<STTService>;
  /** For engines that do not listen themselves. */
  upstream?: {
    /** What it is to hear next. */
    willHear: (speech: RecordedSpeech) => void;
    /** Whether a request is waiting for its answer there. */
    isAsked: () => boolean;
  };
}

/** Everything a transcription yields. */
export interface Heard {
  events: TranscriptEvent[];
  segments: TranscriptSegment[];
  words: TranscriptWord[];
  text: string;
  finish: Extract<TranscriptEvent, { type: 'finish' }> | undefined;
}

export async function collectTranscript(events: AsyncIterable<TranscriptEvent>): Promise<Heard> {
  const all: TranscriptEvent[] = [];
  for await (const event of events) all.push(event);
  const segmentEvents = all.filter((event) => event.type === 'segment');
  const segments = segmentEvents.map(({ segment }) => segment);
  return {
    events: all,
    segments,
    words: segmentEvents.flatMap(({ words }) => words ?? []),
    text: segments.map(({ text }) => text).join(' '),
    finish: all.find((event) => event.type === 'finish'),
  };
}

/** Key words that the text lacks. */
export function missingWords(text: string, keyWords: readonly string[]): string[] {
  const heard = new Set(text.toLowerCase().match(/[\p{L}\p{N}']+/gu));
  return keyWords.filter((word) => !heard.has(word));
}

const MARK = `ANTIPHON_TEST_MARK=${randomUUID()}`;

/** Processes that were started from this one since `markProcesses`, their children included. */
function markedProcesses(): string[] {
  return readdirSync('/proc').filter((id) => {
    try {
      return /^\d+$/.test(id) && readFileSync(`/proc/${id}/environ`, 'latin1').includes(MARK);
    } catch {
      return false; // It ended between the two calls, or is not ours.
    }
  });
}

function markProcesses(): void {
  const [name = '', value = ''] = MARK.split('=');
  process.env[name] = value;
}

/** What runs or is open beyond `before` once things had their time to close. */
async function leftRunning(before: Record<string, number>): Promise<Record<string, number>> {
  const extra = () =>
    Object.entries(running()).filter(([kind, count]) => count > (before[kind] ?? 0));
  await until(() => extra().length === 0, { timeoutMs: 2000 }).catch(() => undefined);
  return Object.fromEntries(extra());
}

/** What runs once an engine that loads ahead has done so: no change in ten looks. */
async function settled(): Promise<Record<string, number>> {
  let last = '';
  let unchanged = 0;
  await until(() => {
    const now = JSON.stringify(running());
    unchanged = now === last ? unchanged + 1 : 0;
    last = now;
    return unchanged >= 10;
  });
  return running();
}

function running(): Record<string, number> {
  return { ...openResources(), processes: markedProcesses().length };
}

/** The rules of `STTService`, for any engine. */
export function describeSTTContract(name: string, contract: STTContract): void {
  describe(`${name} keeps the STT contract`, { timeout: 30_000 * PATIENCE }, () => {
    const [first, second] = SPOKEN_SENTENCES;
    const never = new AbortController().signal;
    const empty = {};
    let service: STTService;
    let model: string;

    beforeAll(async () => {
      markProcesses();
      service = await contract.create();
      model = (await service.listModels(never)).models[0] ?? 'none';
    }, 30_000 * PATIENCE);
    afterAll(() => service.close());

    /** The sentences with 0.8 s between them. */
    async function record(
      count: number,
      options: { endless?: boolean; gate?: () => Promise<void> } = {},
    ): Promise<TestRecording> {
      const spoken = Array.from({ length: count }, (_, at) => [first, second][at % 2] ?? first);
      const pieces = [];
      for (const { sentence, voice } of spoken) {
        pieces.push(await speak(sentence, voice), silence(0.8));
      }
      const recording = recordingOf(Buffer.concat(pieces), options.gate);
      const sentences = spoken.map(({ sentence }) => sentence);
      contract.upstream?.willHear({
        sentences,
        seconds: recording.seconds,
        ...(options.endless === true ? { endless: true } : {}),
      });
      return recording;
    }

    const requestFor = (
      audio: TestRecording,
      changes: Partial<TranscriptionRequest> = {},
    ): TranscriptionRequest => ({
      audio,
      model,
      operation: 'transcribe',
      wordTimes: false,
      ...changes,
    });

    const hear = (
      audio: TestRecording,
      changes: Partial<TranscriptionRequest> = {},
      on = service,
    ): Promise<Heard> => collectTranscript(on.transcribe(requestFor(audio, changes), never));

    test('announces models, each once', async () => {
      const { models } = await service.listModels(never);
      expect(models.length).toBeGreaterThan(0);
      expect(new Set(models).size).toBe(models.length);
    });

    describe('a recording', () => {
      test('is understood, and ends by one finish', async () => {
        const audio = await record(1);
        const { events, finish, text } = await hear(audio);
        expect(missingWords(text, first.keyWords)).toEqual([]);
        expect(events.filter(({ type }) => type === 'finish').length).toBe(1);
        expect(events.at(-1)).toBe(finish);
        expect(finish?.language).toBe('en');
        expect(Math.abs((finish?.durationSeconds ?? 0) - audio.seconds)).toBeLessThan(0.1);
        expect(audio.openReads()).toBe(0);
      });

      test('has segments in order, with times that rise within its length', async () => {
        const audio = await record(3);
        const { segments, finish, text } = await hear(audio);
        expect(missingWords(text, [...first.keyWords, ...second.keyWords])).toEqual([]);
        const times = segments.flatMap(({ startSeconds, endSeconds }) => [
          startSeconds,
          endSeconds,
        ]);
        expect(times).toEqual(times.toSorted((one, other) => one - other));
        expect(times[0]).toBeGreaterThanOrEqual(0);
        expect(times.at(-1)).toBeLessThanOrEqual(finish?.durationSeconds ?? 0);
        for (const { text, startSeconds, endSeconds, averageLogProbability } of segments) {
          expect(text).toBe(text.trim());
          expect(text).not.toBe('');
          expect(endSeconds).toBeGreaterThan(startSeconds);
          expect(averageLogProbability ?? 0).toBeLessThanOrEqual(0);
        }
      });

      test('gives times of words when asked, and not otherwise', async () => {
        const without = await hear(await record(2));
        expect(without.words).toEqual([]);
        const { events, words } = await hear(await record(2), { wordTimes: true });
        expect(words.length).toBeGreaterThan(8);
        const starts = words.map(({ startSeconds }) => startSeconds);
        expect(starts).toEqual(starts.toSorted((one, other) => one - other));
        for (const event of events) {
          if (event.type === 'finish') continue;
          const { segment, words = [] } = event;
          expect(words.map(({ word }) => word).join(' ')).toBe(segment.text);
          expect(words[0]?.startSeconds).toBeGreaterThanOrEqual(segment.startSeconds - 0.01);
          expect(words.at(-1)?.endSeconds).toBeLessThanOrEqual(segment.endSeconds + 0.01);
        }
      });

      test('of silence is a finish without segments', async () => {
        const audio = recordingOf(silence(3));
        contract.upstream?.willHear({ sentences: [], seconds: 3 });
        const { segments, finish } = await hear(audio);
        expect(segments).toEqual([]);
        expect(finish?.durationSeconds).toBeCloseTo(3, 1);
      });

      test('is translated into English', async () => {
        const { text } = await hear(await record(1), { operation: 'translate' });
        expect(missingWords(text, first.keyWords)).toEqual([]);
      });

      test('may come with a prompt and a temperature, empty or not', async () => {
        for (const changes of [
          { prompt: '', temperature: 0 },
          { prompt: 'The weather in "New York";\r\n$(id)', temperature: 0.4 },
        ]) {
          const { text } = await hear(await record(1), changes);
          expect(missingWords(text, first.keyWords)).toEqual([]);
        }
      });

      test('is understood beside two others', async () => {
        const audio = await record(1);
        const heard = await Promise.all([hear(audio), hear(audio), hear(audio)]);
        for (const { text } of heard) expect(missingWords(text, first.keyWords)).toEqual([]);
      });
    });

    describe('a language', () => {
      test('that the engine knows is taken', async () => {
        const { text, finish } = await hear(await record(1), { language: 'en' });
        expect(missingWords(text, first.keyWords)).toEqual([]);
        expect(finish?.language).toBe('en');
      });

      test('that it does not know is refused, not guessed', async () => {
        const outcome = await hear(await record(1), { language: 'tlh' }).catch(
          (thrown: unknown) => thrown,
        );
        const refused = service.languages === 'any' ? empty : { code: 'unsupported_language' };
        expect(outcome).toMatchObject({
          ...refused,
          ...(refused === empty ? {} : { param: 'language' }),
        });
      });
    });

    describe('an abort', () => {
      test('before the start is thrown at once', async () => {
        const reason = new Error('too early');
        const events = service.transcribe(requestFor(await record(1)), AbortSignal.abort(reason));
        await expect(collectTranscript(events)).rejects.toBe(reason);
      });

      test('in the middle stops within a second, throws its reason, leaves nothing', async () => {
        await hear(await record(1));
        const before = await settled();
        const started = Promise.withResolvers<void>();
        let reads = 0;
        const gate = async () => {
          reads += 1;
          if (reads < 3) return;
          started.resolve();
          await until(() => false, { timeoutMs: 60_000 });
        };
        const audio = await record(4, contract.upstream ? { endless: true } : { gate });
        const stop = new AbortController();
        const reason = new Error('stopped');
        const heard = collectTranscript(service.transcribe(requestFor(audio), stop.signal));
        heard.catch(() => undefined);
        if (contract.upstream) await until(contract.upstream.isAsked);
        else await started.promise;
        const startMs = performance.now();
        stop.abort(reason);
        await expect(heard).rejects.toBe(reason);
        expect(performance.now() - startMs).toBeLessThan(1000 * PATIENCE);
        expect(audio.openReads()).toBe(0);
        expect(await leftRunning(before)).toEqual({});
        expect(missingWords((await hear(await record(1))).text, first.keyWords)).toEqual([]);
      });

      test('of one recording does not touch its neighbour', async () => {
        const audio = await record(1);
        const stop = new AbortController();
        const neighbour = hear(audio);
        const stopped = collectTranscript(service.transcribe(requestFor(audio), stop.signal));
        stop.abort(new Error('only this one'));
        await expect(stopped).rejects.toThrow('only this one');
        expect(missingWords((await neighbour).text, first.keyWords)).toEqual([]);
      });

      test('is not needed: a consumer that leaves early leaves nothing', async () => {
        await hear(await record(1));
        const before = await settled();
        const audio = await record(3);
        for await (const event of service.transcribe(requestFor(audio), never)) {
          expect(event.type).toBe('segment');
          break;
        }
        expect(audio.openReads()).toBe(0);
        expect(await leftRunning(before)).toEqual({});
      });
    });

    test('audio that cannot be read is the error of the audio, or never read', async () => {
      const before = await settled();
      const failure = new VoiceError('invalid_file_format');
      const audio: TestRecording = {
        ...(await record(2)),
        // oxlint-disable-next-line require-yield -- it fails before its first piece
        pcm: async function* () {
          throw failure;
        },
      };
      const outcome = await hear(audio).catch((thrown: unknown) => thrown);
      expect(outcome === failure || contract.upstream !== undefined).toBe(true);
      expect(await leftRunning(before)).toEqual({});
    });

    test('close is idempotent, and then nothing runs', async () => {
      const before = await settled();
      const own = await contract.create();
      await hear(await record(1), {}, own);
      const cut = hear(await record(4), {}, own).catch((thrown: unknown) => thrown);
      await Promise.all([own.close(), own.close()]);
      await own.close();
      expect(await leftRunning(before)).toEqual({});
      const outcome = await cut;
      const foreign = outcome instanceof Error && !(outcome instanceof VoiceError);
      expect(foreign ? outcome : undefined).toBeUndefined();
      const late = await hear(await record(1), {}, own).catch((thrown: unknown) => thrown);
      expect(late).toBeInstanceOf(VoiceError);
    });
  });
}
