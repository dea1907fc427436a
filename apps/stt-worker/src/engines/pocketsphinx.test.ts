import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type {
  RecordedAudio,
  STTService,
  TranscriptEvent,
  TranscriptionRequest,
} from '@antiphon/shared/services/stt-service';
import { collectTranscript, missingWords } from '@antiphon/testing/contracts/stt-service-contract';
import { recordingOf, silence, speak } from '@antiphon/testing/spoken-recording';
import { SPOKEN_SENTENCES } from '@antiphon/testing/spoken-sentences';
import { PATIENCE } from '@antiphon/testing/until';
import { pocketsphinx } from './pocketsphinx.ts';

const warnings: string[] = [];
const context = { concurrency: 2, warn: (message: string) => void warnings.push(message) };
const create = (): Promise<STTService> => pocketsphinx.createFrom({}, context);

describe('pocketsphinx', { timeout: 60_000 * PATIENCE }, () => {
  const never = new AbortController().signal;
  const [first, second] = SPOKEN_SENTENCES;
  let service: STTService;
  let folder: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'antiphon-'));
    service = await create();
  }, 30_000 * PATIENCE);
  afterAll(async () => {
    await service.close();
    await rm(folder, { recursive: true });
  });

  const request = (
    audio: RecordedAudio,
    changes: Partial<TranscriptionRequest> = {},
  ): TranscriptionRequest => ({
    audio,
    model: 'whisper-1',
    operation: 'transcribe',
    wordTimes: false,
    ...changes,
  });

  test('answers to its own name and to those of OpenAI', async () => {
    expect((await service.listModels(never)).models).toEqual([
      'pocketsphinx',
      'whisper-1',
      'gpt-4o-transcribe',
      'gpt-4o-mini-transcribe',
      'gpt-transcribe',
    ]);
    expect(service.languages).toEqual(['en']);
  });

  test.each(SPOKEN_SENTENCES)('hears $voice say "$sentence"', async (spoken) => {
    const audio = recordingOf(await speak(spoken.sentence, spoken.voice));
    const { text, segments } = await collectTranscript(service.transcribe(request(audio), never));
    expect(missingWords(text, spoken.keyWords)).toEqual([]);
    expect(text).toMatch(/^[A-Z][A-Za-z' ]+$/);
    expect(segments[0]?.averageLogProbability).toBeGreaterThan(-3);
  });

  test('hears the same in the background', async () => {
    const audio = recordingOf(await speak(first.sentence, first.voice));
    const asked = request(audio, { background: true });
    const { text } = await collectTranscript(service.transcribe(asked, never));
    expect(missingWords(text, first.keyWords)).toEqual([]);
  });

  test('hears the first and the last word of a clip that is cut close', async () => {
    const spoken = await speak(first.sentence, first.voice);
    const isLoud = (_: unknown, at: number) => Math.abs(spoken.readInt16LE(at * 2)) > 300;
    const samples = Array.from({ length: spoken.length / 2 }, isLoud);
    const close = spoken.subarray(samples.indexOf(true) * 2, samples.lastIndexOf(true) * 2);
    const { text } = await collectTranscript(
      service.transcribe(request(recordingOf(close)), never),
    );
    expect(missingWords(text, first.keyWords)).toEqual([]);
  });

  test('yields an utterance while the rest of the recording is still coming', async () => {
    const sentences = [await speak(first.sentence, first.voice), silence(1)];
    const beginning = Buffer.concat([...sentences, ...sentences, silence(12)]);
    const heardOne = Promise.withResolvers<void>();
    const audio: RecordedAudio = {
      ...recordingOf(beginning),
      pcm: async function* () {
        yield beginning;
        await heardOne.promise;
        yield Buffer.concat(sentences);
      },
    };
    const events: TranscriptEvent[] = [];
    for await (const event of service.transcribe(request(audio), never)) {
      events.push(event);
      heardOne.resolve();
    }
    expect(events.map(({ type }) => type)).toEqual(['segment', 'segment', 'segment', 'finish']);
  });

  test('cuts the speech of someone who never pauses, and keeps the times right', async () => {
    const sentences = await Promise.all(
      [first, second].map(({ sentence, voice }) => speak(sentence, voice)),
    );
    const round = Buffer.concat(sentences);
    const pcm = Buffer.concat(Array.from({ length: 5 }, () => round));
    const audio = recordingOf(pcm);
    const { segments, words, finish } = await collectTranscript(
      service.transcribe(request(audio, { wordTimes: true }), never),
    );
    expect(segments.length).toBeGreaterThan(1);
    expect(finish?.durationSeconds).toBeCloseTo(audio.seconds, 2);
    const keyWord = first.keyWords[0];
    const heard = words.filter(({ word }) => word.toLowerCase() === keyWord);
    expect(heard.length).toBeGreaterThan(3);
    const roundSeconds = round.length / 32_000;
    const [expected = 0] = heard.map(({ startSeconds }) => startSeconds);
    for (const { startSeconds } of heard) {
      const drift =
        ((startSeconds - expected + roundSeconds / 2) % roundSeconds) - roundSeconds / 2;
      expect(Math.abs(drift)).toBeLessThan(0.25);
    }
  });

  test('takes every spelling of English, and names what it knows when it is another', async () => {
    const audio = recordingOf(silence(0.5));
    for (const language of ['', 'en', 'EN', 'en-US', 'en_GB', 'english']) {
      const { finish } = await collectTranscript(
        service.transcribe(request(audio, { language }), never),
      );
      expect(finish?.language).toBe('en');
    }
    for (const operation of ['transcribe', 'translate'] as const) {
      const events = service.transcribe(request(audio, { language: 'de', operation }), never);
      await expect(collectTranscript(events)).rejects.toMatchObject({
        code: 'unsupported_language',
        param: 'language',
        message: expect.stringMatching(/English.*'de'.*STT_SERVICE/s) as string,
      });
    }
  });

  test('tells the operator once what it cannot use', async () => {
    const own = await create();
    warnings.length = 0;
    for (const changes of [{ prompt: ' ' }, { prompt: 'Ada' }, { prompt: 'Bob', temperature: 1 }]) {
      const events = own.transcribe(request(recordingOf(silence(0.2)), changes), never);
      await collectTranscript(events);
    }
    await own.close();
    expect(warnings.map((warning) => /'(\w+)'/.exec(warning)?.[1])).toEqual([
      'prompt',
      'temperature',
    ]);
    expect(warnings.join(' ')).not.toMatch(/Ada|Bob/);
  });

  test('a program that dies is engine_failed, and the next recording is heard', async () => {
    const path = join(folder, 'dies-on-sound');
    await writeFile(path, `#!/bin/sh\ntest -z "$(tr -d '\\000' < /dev/stdin | head -c 1)"\n`);
    await chmod(path, 0o755);
    const own = await pocketsphinx.createFrom({ STT_POCKETSPHINX_PATH: path }, context);
    const audio = recordingOf(await speak(first.sentence, first.voice));
    const events = own.transcribe(request(audio), never);
    await expect(collectTranscript(events)).rejects.toMatchObject({ code: 'engine_failed' });
    const quiet = await collectTranscript(own.transcribe(request(recordingOf(silence(1))), never));
    expect(quiet.finish?.durationSeconds).toBe(1);
    await own.close();
  });

  test('does not start without its program or its model, and says what to install', async () => {
    const nowhere = join(folder, 'nowhere');
    await expect(
      pocketsphinx.createFrom({ STT_POCKETSPHINX_PATH: nowhere }, context),
    ).rejects.toThrow(/nowhere was not found.*apt-get install pocketsphinx/s);
    await expect(
      pocketsphinx.createFrom({ STT_POCKETSPHINX_MODEL_DIR: nowhere }, context),
    ).rejects.toThrow(/nowhere.*apt-get install pocketsphinx-en-us/s);
  });

  test('passes on what is wrong with the audio', async () => {
    for (const code of ['audio_too_short', 'audio_too_long', 'invalid_file_format'] as const) {
      const audio: RecordedAudio = {
        ...recordingOf(silence(1)),
        pcm: async function* () {
          yield silence(0.05);
          throw new VoiceError(code);
        },
      };
      const events = service.transcribe(request(audio), never);
      await expect(collectTranscript(events)).rejects.toMatchObject({ code });
    }
  });
});
