import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { STTService, TranscriptionRequest } from '@antiphon/shared/services/stt-service';
import {
  collectTranscript,
  describeSTTContract,
  type Heard,
  type RecordedSpeech,
} from '@antiphon/testing/contracts/stt-service-contract';
import { type OpenAIServer, startOpenAIServer } from '@antiphon/testing/openai-server';
import { recordingOf, silence } from '@antiphon/testing/spoken-recording';
import { openai } from './openai.ts';

const context = { concurrency: 2, warn: (message: string) => expect.fail(message) };
const create = (server: OpenAIServer, more: NodeJS.ProcessEnv = {}): Promise<STTService> =>
  openai.createFrom({ STT_OPENAI_BASE_URL: server.baseUrl, ...more }, context);

/** What a server that understands every word answers. */
function transcriptOf({ sentences, seconds }: RecordedSpeech) {
  const length = seconds / Math.max(1, sentences.length);
  return {
    text: sentences.join(' '),
    language: 'english',
    durationSeconds: seconds,
    segments: sentences.map((text, at) => ({
      text: ` ${text}`,
      start: at * length,
      end: (at + 1) * length,
    })),
    words: sentences.flatMap((sentence, at) => {
      const words = sentence.split(' ');
      const step = length / words.length;
      return words.map((word, place) => ({
        word,
        start: at * length + place * step,
        end: at * length + (place + 1) * step,
      }));
    }),
  };
}

const upstream = await startOpenAIServer({ models: ['whisper-1', 'gpt-5', 'gpt-transcribe'] });
afterAll(() => upstream.close());

describeSTTContract('openai', {
  create: () => create(upstream),
  upstream: {
    willHear: (speech) => {
      upstream.resetScripts();
      upstream.script({
        when: ({ path }) => path.startsWith('/audio/'),
        transcript: transcriptOf(speech),
        ...(speech.endless === true ? { fault: { type: 'no-headers' } } : {}),
      });
    },
    isAsked: () => upstream.activeRequests() > 0,
  },
});

describe('openai', () => {
  const never = new AbortController().signal;
  let server: OpenAIServer;
  let service: STTService;

  beforeEach(async () => {
    server = await startOpenAIServer();
    service = await create(server, { STT_OPENAI_API_KEY: 'key-of-the-operator' });
  });
  afterEach(async () => {
    await service.close();
    await server.close();
  });

  const hear = (changes: Partial<TranscriptionRequest> = {}): Promise<Heard> => {
    const audio = recordingOf(silence(1.25));
    const request = {
      audio,
      model: 'whisper-1',
      operation: 'transcribe',
      wordTimes: false,
    } as const;
    return collectTranscript(service.transcribe({ ...request, ...changes }, never));
  };

  test('sends the file as it came, and all that the client said', async () => {
    const audio = recordingOf(silence(0.5));
    const prompt = 'Names: "Ada",\r\n--x; name="file" ünï';
    await hear({ audio, language: 'de', prompt, temperature: 0.2, wordTimes: true });
    const [request] = server.requestsTo('/audio/transcriptions');
    const bytes = [];
    for await (const piece of audio.bytes()) bytes.push(piece);
    const [file] = request?.files['file'] ?? [];
    expect(file?.bytes.equals(Buffer.concat(bytes))).toBe(true);
    expect([file?.name, file?.type]).toEqual(['audio.wav', 'audio/wav']);
    expect(request?.headers['authorization']).toBe('Bearer key-of-the-operator');
    expect(Number(request?.headers['content-length'])).toBe(request?.rawBody.length);
    expect({ ...request?.fields }).toEqual({
      model: ['whisper-1'],
      response_format: ['verbose_json'],
      language: ['de'],
      'timestamp_granularities[]': ['segment', 'word'],
      prompt: [prompt],
      temperature: ['0.2'],
    });
  });

  test('translates at the other address, which knows no language', async () => {
    await hear({ operation: 'translate', language: 'de' });
    const [request] = server.requestsTo('/audio/translations');
    expect({ ...request?.fields }).toEqual({
      model: ['whisper-1'],
      response_format: ['verbose_json'],
    });
  });

  test('gives each segment its words, probabilities and a code for the language', async () => {
    const words = ['Hallo', 'du', 'da'].map((word, at) => ({ word, start: at, end: at + 0.9 }));
    const segments = [
      { text: ' Hallo du', start: 0, end: 2 },
      { text: ' ', start: 2, end: 2 },
      { text: ' da', start: 2, end: 3 },
    ];
    const transcript = { text: 'Hallo du da', language: 'german', durationSeconds: 3.2 };
    server.script({ transcript: { ...transcript, words, segments } });
    const { events } = await hear({ wordTimes: true });
    expect(events).toEqual([
      {
        type: 'segment',
        segment: {
          text: 'Hallo du',
          startSeconds: 0,
          endSeconds: 2,
          averageLogProbability: -0.25,
          noSpeechProbability: 0.01,
        },
        words: [
          { word: 'Hallo', startSeconds: 0, endSeconds: 0.9 },
          { word: 'du', startSeconds: 1, endSeconds: 1.9 },
        ],
      },
      expect.objectContaining({ words: [{ word: 'da', startSeconds: 2, endSeconds: 2.9 }] }),
      { type: 'finish', language: 'de', durationSeconds: 3.2 },
    ]);
  });

  test('asks a model that refuses verbose_json for json, and remembers it', async () => {
    for (const language of [undefined, 'fr']) {
      const { events } = await hear({
        model: 'gpt-4o-transcribe',
        ...(language === undefined ? {} : { language }),
      });
      expect(events).toEqual([
        {
          type: 'segment',
          segment: { text: 'Hello from the scripted server.', startSeconds: 0, endSeconds: 1.25 },
        },
        { type: 'finish', language: language ?? 'und', durationSeconds: 1.25 },
      ]);
    }
    const formats = server.requests.map(({ fields }) => fields['response_format']?.[0]);
    expect(formats).toEqual(['verbose_json', 'json', 'json']);
    await hear();
    expect(server.requests.at(-1)?.fields['response_format']).toEqual(['verbose_json']);
  });

  test('refuses times of words for a model that has none', async () => {
    const refusal = { code: 'unsupported_value', param: 'timestamp_granularities' };
    for (const model of ['gpt-4o-transcribe', 'gpt-4o-transcribe', 'whisper-1']) {
      const fault = {
        type: 'status',
        status: 200,
        body: { text: 'Words without times.', duration: 1 },
      } as const;
      if (model === 'whisper-1') server.script({ fault });
      await expect(hear({ model, wordTimes: true })).rejects.toMatchObject(refusal);
    }
    expect(server.requests.length).toBe(2);
  });

  test('takes the length that was billed when it cannot decode the recording', async () => {
    const body = { text: 'Short.', usage: { type: 'duration', seconds: 2 } };
    server.script({ fault: { type: 'status', status: 200, body } });
    const audio = { ...recordingOf(silence(1)), pcm: () => silenceThatFails() };
    const { finish } = await hear({ audio });
    expect(finish?.durationSeconds).toBe(2);
    // oxlint-disable-next-line require-yield -- it fails before its first piece
    async function* silenceThatFails() {
      throw new Error('no decoder');
    }
  });

  test.each([
    [{ type: 'status', status: 401 }, 'upstream_auth'],
    [{ type: 'status', status: 413, body: { error: { message: 'too big' } } }, 'upstream_rejected'],
    [{ type: 'html' }, 'upstream_protocol'],
    [{ type: 'garbage' }, 'upstream_protocol'],
    [{ type: 'cut', by: 'rst', afterTokens: 1 }, 'upstream_protocol'],
    [{ type: 'status', status: 200, body: { segments: [] } }, 'upstream_protocol'],
  ] as const)('%o is %s', async (fault, code) => {
    server.script({ fault });
    await expect(hear()).rejects.toMatchObject({ code });
    expect(server.requests.length).toBe(1);
  });

  test('announces what is told, else what of the list listens, else the list', async () => {
    const lists = [
      ['gpt-5', 'whisper-1', 'gpt-4o-transcribe'],
      ['tiny.en', 'base'],
    ];
    for (const models of lists) {
      const other = await startOpenAIServer({ models });
      const listed = await create(other);
      const told = await create(other, { STT_OPENAI_MODELS: 'mine, whisper-1' });
      expect(await told.listModels(never)).toEqual({ models: ['mine', 'whisper-1'] });
      const expected = models.includes('base') ? models : ['whisper-1', 'gpt-4o-transcribe'];
      expect(await listed.listModels(never)).toEqual({ models: expected });
      await Promise.all([listed.close(), told.close(), other.close()]);
    }
  });

  test('a server without a list is told with the variable that helps', async () => {
    const other = await startOpenAIServer({ models: [] });
    other.script({ path: '/models', fault: { type: 'status', status: 404 } });
    const listed = await create(other);
    await expect(listed.listModels(never)).rejects.toThrow('STT_OPENAI_MODELS');
    await Promise.all([listed.close(), other.close()]);
  });
});
