import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ERROR_CATALOG } from '@antiphon/shared/errors/error-catalog';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { PcmChunk, SpeechRequest, TTSService } from '@antiphon/shared/services/tts-service';
import { PATIENCE, until } from '../until.ts';

export interface TTSContract {
  create: () => Promise<TTSService>;
  /** For an engine that announces any voice. */
  voice?: string;
  /** Whether chunks come before the phrase is finished. */
  streams: boolean;
  /** Languages of announced voices that no Latin text is tried on; none unless told. */
  skipVoice?: (voiceId: string) => boolean;
}

const SHORT = 'Hello.';
const LONG =
  'The first sentence is about the weather. The second one tells of a small boat on a wide river. ' +
  'And the third sentence, which is the longest of them all, ends with a cup of tea and a biscuit.';

/** What a client may send on purpose or by accident. */
const WEIRD_TEXTS: Record<string, string> = {
  emoji: '😀👩‍👩‍👧‍👦🏳️‍🌈',
  'control characters': 'a\u0000b\u0007c\u001b[31md\u007f',
  'lone surrogates': '\ud800 hello \udc00',
  markup: '<speak><break time="100s"/>Hello & <voice name="x">you</voice></speak>',
  'a shell command': '$(rm -rf ./x) `id` ; | & > x "quoted" \'single\'',
  'a leading dash': '--version -h',
  'an at sign and a path': '@/etc/passwd ../../etc/passwd',
  'letters without a blank': 'abcdefghij'.repeat(30),
  'signs only': '... !!! ??? --- ***',
  blanks: ' \n\t\r\n ',
  'stacked marks': `Z${'\u0351'.repeat(100)} algo`,
  'commands in brackets': '[[h@loU]] {"a":1} %s %n',
};

/** Threads that belong to Node itself and come and go as it likes. */
const NODE_THREAD = /^(libuv|node-V8|Delayed|Signal)/;

/** Counts of what a synthesis may leave behind: child processes, pipes, sockets, worker threads. */
export function openResources(): Record<string, number> {
  const kinds = process.getActiveResourcesInfo().filter((kind) => /Process|TCP|Pipe/.test(kind));
  // Node does not list its worker threads; Linux does. All under one name: a thread that is
  // starting still has its parent's.
  const threads = threadNames().filter((name) => !NODE_THREAD.test(name));
  const counts: Record<string, number> = {};
  for (const kind of [...kinds, ...threads.map(() => 'thread')]) {
    counts[kind] = (counts[kind] ?? 0) + 1;
  }
  return counts;
}

function threadNames(): string[] {
  const folder = '/proc/self/task';
  if (!existsSync(folder)) return [];
  return readdirSync(folder).flatMap((id) => {
    try {
      return [readFileSync(`${folder}/${id}/comm`, 'utf8').trim()];
    } catch {
      return []; // It ended between the two calls.
    }
  });
}

interface Spoken {
  chunks: PcmChunk[];
  pcm: Buffer;
  seconds: number;
}

/** Everything a synthesis yields. */
export async function collect(chunks: AsyncIterable<PcmChunk>): Promise<Spoken> {
  const all: PcmChunk[] = [];
  let seconds = 0;
  for await (const chunk of chunks) {
    all.push(chunk);
    seconds += chunk.pcm.byteLength / 2 / chunk.sampleRateHz;
  }
  return { chunks: all, pcm: Buffer.concat(all.map(({ pcm }) => pcm)), seconds };
}

/** The container ffmpeg takes the bytes for with some certainty, or ''. */
function containerOf(bytes: Buffer): string {
  const args = ['-v', 'error', '-show_entries', 'format=format_name,probe_score', '-of', 'csv=p=0'];
  const { stdout, error } = spawnSync('ffprobe', [...args, '-i', 'pipe:0'], { input: bytes });
  if (error !== undefined) throw error;
  const [name = '', score = '0'] = stdout.toString().trim().split(',').slice(-2);
  return Number(score) > 50 ? name : '';
}

function peakOf(pcm: Buffer): number {
  let peak = 0;
  for (let at = 0; at + 1 < pcm.byteLength; at += 2) {
    peak = Math.max(peak, Math.abs(pcm.readInt16LE(at)));
  }
  return peak;
}

/** What is open beyond `before` once things had their time to close. */
async function leftOpen(before: Record<string, number>): Promise<Record<string, number>> {
  const extra = (): [string, number][] =>
    Object.entries(openResources()).filter(([kind, count]) => count > (before[kind] ?? 0));
  await until(() => extra().length === 0, { timeoutMs: 2000 }).catch(() => undefined);
  return Object.fromEntries(extra());
}

/** What is wrong with the outcome of a difficult text: audio, or a refusal in so many words. */
function faultOf(outcome: unknown, { mustSound }: { mustSound: boolean }): string {
  if (outcome instanceof VoiceError && outcome.code === 'text_not_speakable') return '';
  if (outcome instanceof Error) return String(outcome);
  const { pcm } = outcome as Spoken;
  if (pcm.byteLength % 2 !== 0) return 'half a sample';
  return mustSound && peakOf(pcm) < 500 ? 'silence passed for success' : '';
}

/** The rules of `TTSService`, for any engine. */
export function describeTTSContract(name: string, contract: TTSContract): void {
  describe(`${name} keeps the TTS contract`, { timeout: 30_000 * PATIENCE }, () => {
    let service: TTSService;
    let base: SpeechRequest;
    const never = new AbortController().signal;

    beforeAll(async () => {
      service = await contract.create();
      const { models, voices } = await service.listVoices(never);
      const voice = voices === 'any' ? contract.voice : voices[0]?.id;
      base = { text: SHORT, voice: voice ?? 'alloy', model: models[0] ?? 'any', speed: 1 };
    }, 30_000 * PATIENCE);
    afterAll(() => service.close());

    const say = (changes: Partial<SpeechRequest> = {}, signal = never): Promise<Spoken> =>
      collect(service.synthesize({ ...base, ...changes }, signal));

    describe('audio', () => {
      test('is PCM: whole samples, one rate, no container', async () => {
        const { chunks, pcm } = await say({ text: LONG });
        expect(chunks.filter(({ pcm }) => pcm.byteLength % 2 !== 0)).toEqual([]);
        expect(chunks.filter(({ pcm }) => pcm.byteLength === 0)).toEqual([]);
        expect(new Set(chunks.map(({ sampleRateHz }) => sampleRateHz)).size).toBe(1);
        expect(chunks[0]?.sampleRateHz).toBeGreaterThanOrEqual(8000);
        expect(containerOf(pcm)).toBe('');
        expect(pcm.subarray(0, 4).toString('latin1')).not.toMatch(/RIFF|OggS|ID3|fLaC/);
      });

      test('is as long as the text asks for', async () => {
        const short = await say();
        const long = await say({ text: LONG });
        expect(short.seconds).toBeGreaterThanOrEqual(0.2);
        expect(short.seconds).toBeLessThan(5);
        expect(long.seconds).toBeGreaterThan(short.seconds * 3);
        expect(peakOf(short.pcm)).toBeGreaterThan(500);
      });

      test.each([
        [0.25, 0.6],
        [0.5, 0.75],
        [2, 0.75],
        [4, 0.6],
      ])('takes its time by speed (%d)', async (speed, accuracy) => {
        const plain = await say({ text: LONG });
        const changed = await say({ text: LONG, speed });
        const ratio = (changed.seconds * speed) / plain.seconds;
        expect(ratio).toBeGreaterThan(accuracy);
        expect(ratio).toBeLessThan(1 / accuracy);
      });

      test('comes from every announced voice and model', async () => {
        const { voices, models } = await service.listVoices(never);
        const requests = [
          ...(voices === 'any' ? [] : voices.map(({ id }) => ({ voice: id }))),
          ...models.map((model) => ({ model })),
        ];
        const silent: object[] = [];
        for (const request of requests) {
          if ('voice' in request && contract.skipVoice?.(request.voice) === true) continue;
          const { seconds, pcm } = await say({ ...request, text: 'Hello, number 1.' });
          if (seconds < 0.2 || peakOf(pcm) < 500) silent.push(request);
        }
        expect(silent).toEqual([]);
      });

      test('is announced with unique names', async () => {
        const { voices, models } = await service.listVoices(never);
        const names = voices === 'any' ? [] : voices.map(({ id }) => id);
        expect(new Set(names).size).toBe(names.length);
        expect(new Set(models).size).toBe(models.length);
        expect(models.length).toBeGreaterThan(0);
      });

      test.runIf(contract.streams)('comes in more than one piece, the first early', async () => {
        const chunks = service.synthesize({ ...base, text: LONG }, never)[Symbol.asyncIterator]();
        const first = await chunks.next();
        const second = await chunks.next();
        expect([first.done, second.done]).toEqual([false, false]);
        await chunks.return?.();
      });

      test('of four phrases at once is the same as one by one', async () => {
        const texts = ['One.', 'Two and two.', 'Three and three and three.', LONG];
        const alone = [];
        for (const text of texts) alone.push(await say({ text }));
        const together = await Promise.all(texts.map((text) => say({ text })));
        for (const [index, spoken] of together.entries()) {
          const expected = alone[index] as Spoken;
          expect(spoken.seconds).toBeGreaterThan(expected.seconds * 0.8);
          expect(spoken.seconds).toBeLessThan(expected.seconds * 1.25);
          expect(!service.deterministic || spoken.pcm.equals(expected.pcm)).toBe(true);
        }
      });

      test('is the same in another instance, if the engine says so', async () => {
        const other = await contract.create();
        try {
          expect(other.fingerprint).toBe(service.fingerprint);
          for (const speed of [1, 1.37]) {
            const request = { ...base, text: LONG, speed };
            const theirs = await collect(other.synthesize(request, never));
            const ours = await say(request);
            expect(!service.deterministic || theirs.pcm.equals(ours.pcm)).toBe(true);
          }
        } finally {
          await other.close();
        }
      });
    });

    describe('an abort', () => {
      const LIMIT_MS = 1000;
      const long = { text: LONG, speed: 0.25 };

      test('before the start is thrown at once', async () => {
        const reason = new Error('too early');
        const chunks = service.synthesize({ ...base }, AbortSignal.abort(reason));
        await expect(collect(chunks)).rejects.toBe(reason);
      });

      test('before the first chunk stops the work', async () => {
        await say();
        const before = openResources();
        const stop = new AbortController();
        const reason = new Error('stopped before audio');
        const spoken = say(long, stop.signal);
        stop.abort(reason);
        await expect(spoken.then(({ seconds }) => ({ seconds }))).rejects.toBe(reason);
        expect(await leftOpen(before)).toEqual({});
      });

      test('in the middle stops within a second, throws its reason, leaves nothing', async () => {
        await say();
        const before = openResources();
        const stop = new AbortController();
        const reason = new Error('stopped');
        const spoken = service.synthesize({ ...base, ...long }, stop.signal);
        const chunks = spoken[Symbol.asyncIterator]();
        expect((await chunks.next()).done).toBe(false);
        const startMs = performance.now();
        stop.abort(reason);
        await expect(chunks.next().then(({ done }) => ({ done }))).rejects.toBe(reason);
        expect(performance.now() - startMs).toBeLessThan(LIMIT_MS * PATIENCE);
        expect(await leftOpen(before)).toEqual({});
        expect((await say()).seconds).toBeGreaterThan(0.2);
      });

      test('of one phrase does not touch its neighbours', async () => {
        const stop = new AbortController();
        const neighbours = [say({ text: LONG }), say({ text: LONG })];
        const stopped = say(long, stop.signal);
        stop.abort(new Error('only this one'));
        await expect(stopped).rejects.toThrow('only this one');
        const expected = await say({ text: LONG });
        for (const { pcm } of await Promise.all(neighbours)) {
          expect(pcm.byteLength).toBeGreaterThan(expected.pcm.byteLength * 0.9);
        }
      });

      test('is not needed: a consumer that leaves early leaves nothing', async () => {
        await say();
        const before = openResources();
        for await (const _ of service.synthesize({ ...base, ...long }, never)) break;
        expect(await leftOpen(before)).toEqual({});
      });
    });

    describe('a text', () => {
      test.each(Object.entries(WEIRD_TEXTS))('of %s neither crashes nor hangs', async (_, text) => {
        const outcome = await say({ text }).catch((thrown: unknown) => thrown);
        expect(faultOf(outcome, { mustSound: /[a-z0-9]/i.test(text) })).toBe('');
        expect((await say()).seconds).toBeGreaterThan(0.2);
      });

      test('in a script the engine knows not is refused, never silence', async () => {
        for (const text of ['Привет, как дела?', '你好', 'नमस्ते', 'ꦲꦏ꧀ꦱꦫ']) {
          const outcome = await say({ text }).catch((thrown: unknown) => thrown);
          expect(faultOf(outcome, { mustSound: true })).toBe('');
          expect(service.canSpeak(text) || outcome instanceof VoiceError).toBe(true);
        }
        expect(service.canSpeak('Plain English, number 42.')).toBe(true);
        expect(service.canSpeak('42')).toBe(true);
      });
    });

    test('close is idempotent, and then nothing is open', async () => {
      const before = openResources();
      const own = await contract.create();
      const { models } = await own.listVoices(never);
      await collect(own.synthesize({ ...base, model: models[0] ?? base.model }, never));
      const cut = collect(own.synthesize({ ...base, text: LONG, speed: 0.25 }, never)).catch(
        (thrown: unknown) => thrown,
      );
      await Promise.all([own.close(), own.close()]);
      await own.close();
      expect(await leftOpen(before)).toEqual({});
      const outcome = await cut;
      expect(!(outcome instanceof Error) || outcome instanceof VoiceError).toBe(true);
      const late = await collect(own.synthesize({ ...base }, never)).catch(
        (thrown: unknown) => thrown,
      );
      expect(late).toBeInstanceOf(VoiceError);
      expect(Object.keys(ERROR_CATALOG)).toContain((late as VoiceError).code);
    });
  });
}
