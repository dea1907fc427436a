import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeToPcm } from '@antiphon/testing/decode-audio';
import { type OpenAIServer, startOpenAIServer } from '@antiphon/testing/openai-server';
import { spokenPcm } from '@antiphon/testing/openai-server/speech';
import { hasPulseAudio, startPulseAudio } from '@antiphon/testing/pulse-audio';
import { until } from '@antiphon/testing/until';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MAIN, runCli, startCli } from '../testing/run-cli.ts';
import { samplesOf, wavSamples } from '../testing/wav-samples.ts';

const SENTENCE = 'Das Fenster ist offen, sagt 李.';
const LONG = Array.from({ length: 150 }, (_, at) => `Sentence ${at} is one of very many. `).join(
  '',
);

let server: OpenAIServer;
let directory: string;
beforeEach(async () => {
  server = await startOpenAIServer({ models: ['a', 'tts-1', 'b'] });
  directory = await mkdtemp(join(tmpdir(), 'antiphon-cli-'));
});
afterEach(async () => {
  await server.close();
  await rm(directory, { recursive: true, force: true });
});

const say = (args: string[], more: { stdin?: string; environment?: NodeJS.ProcessEnv } = {}) => {
  const environment = { OPENAI_BASE_URL: server.baseUrl, ...more.environment };
  return runCli(['say', ...args], { directory, ...more, environment });
};
const saved = (name = 'a.wav') => readFile(join(directory, name));
const bodies = () =>
  server.requestsTo('/audio/speech').map(({ body }) => body as Record<string, unknown>);
/** The inputs of a text that was cut, once each. */
const pieces = () => [...new Set(bodies().map(({ input }) => String(input)))];
const spokenPieces = () => samplesOf(Buffer.concat(pieces().map((piece) => spokenPcm(piece))));

describe('a file', () => {
  it('is a WAV with exact sizes, of every sample', async () => {
    const args = [...SENTENCE.split(' '), '--save', 'a.wav', '--voice', 'echo', '--speed', '1.25'];
    expect(await say([...args, '--model', 'm'])).toMatchObject({ code: 0, stdout: '', stderr: '' });
    expect(bodies()).toStrictEqual([
      { input: SENTENCE, voice: 'echo', response_format: 'wav', model: 'm', speed: 1.25 },
    ]);
    const { samples } = wavSamples(await saved());
    expect(samples).toStrictEqual(samplesOf(spokenPcm(SENTENCE, { speed: 1.25 })));
    expect(await readdir(directory)).toStrictEqual(['a.wav']);
  });

  it('the text may come from standard input, the model from the server’s usual ones', async () => {
    server.script({
      path: '/audio/speech',
      when: ({ body }) => !Object.hasOwn(body as object, 'model'),
      fault: {
        type: 'status',
        status: 400,
        body: {
          error: {
            message: 'you must provide a model parameter',
            type: 'invalid_request_error',
            param: null,
            code: null,
          },
        },
      },
    });
    for (const args of [[], ['-']]) {
      expect(await say([...args, '--save', 'a.pcm'], { stdin: SENTENCE })).toMatchObject({
        code: 0,
      });
      expect(samplesOf(await saved('a.pcm'))).toStrictEqual(samplesOf(spokenPcm(SENTENCE)));
      expect(bodies().at(-1)).toMatchObject({
        input: SENTENCE,
        model: 'tts-1',
        response_format: 'pcm',
      });
    }
  });

  it('--format wins over the name; a name without a format is wrong usage', async () => {
    expect((await say(['hi', '--save', 'sound', '--format', 'pcm'])).code).toBe(0);
    expect(samplesOf(await saved('sound'))).toStrictEqual(samplesOf(spokenPcm('hi')));
    const outcome = await say(['hi', '--save', 'sound.xyz']);
    expect(outcome.code).toBe(2);
    expect(outcome.stderr).toMatch(
      /^antiphon: 'sound\.xyz' does not tell a format — end its name in/,
    );
  });

  it('- is standard output, and nothing else is on it', async () => {
    const outcome = await say([SENTENCE, '--save', '-', '--format', 'pcm']);
    expect(outcome).toMatchObject({ code: 0, stderr: '' });
    expect(samplesOf(outcome.stdoutBytes)).toStrictEqual(samplesOf(spokenPcm(SENTENCE)));
    const wav = await say([SENTENCE, '--save', '-']);
    const pcm = await decodeToPcm(wav.stdoutBytes, { sampleRateHz: 24_000 });
    expect(pcm).toStrictEqual(samplesOf(spokenPcm(SENTENCE)));
  });

  it('what stood there stays when the sound breaks off', async () => {
    await writeFile(join(directory, 'a.wav'), 'before');
    server.script({ fault: { type: 'cut', by: 'rst', afterTokens: 3 } });
    const outcome = await say([SENTENCE, '--save', 'a.wav']);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toMatch(/^antiphon: the connection broke off [^\n]+ — ask again\n$/);
    expect(await saved()).toStrictEqual(Buffer.from('before'));
    expect(await readdir(directory)).toStrictEqual(['a.wav']);
  });

  it('Ctrl-C stops the server’s work and leaves no file', async () => {
    server.script({ tokenDelayMs: 50 });
    const { child, outcome } = startCli(['say', SENTENCE, '--save', 'a.mp3', '--format', 'pcm'], {
      directory,
      environment: { OPENAI_BASE_URL: server.baseUrl },
    });
    const request = await until(() => server.requests[0]);
    await until(() => request.tokensWritten > 2);
    child.kill('SIGINT');
    expect(await outcome).toMatchObject({ code: 130, stderr: '' });
    await until(() => request.abortedAtMs);
    expect(await readdir(directory)).toStrictEqual([]);
  });

  it.each([
    [{ type: 'html' }, /sent text\/html instead of sound/],
    [{ type: 'status', status: 429, headers: { 'retry-after': '3' } }, /try again in 3 s/],
  ] as const)('%j is one line', async (fault, pattern) => {
    server.script({ fault });
    const outcome = await say([SENTENCE, '--save', 'a.wav']);
    expect(outcome).toMatchObject({ code: 1, stdout: '' });
    expect(outcome.stderr).toMatch(/^antiphon: [^\n]+ — [^\n]+\n$/);
    expect(outcome.stderr).toMatch(pattern);
    expect(await readdir(directory)).toStrictEqual([]);
  });

  it('an answer that is no WAV, or nothing, is told', async () => {
    server.script({ speechFormat: 'pcm' });
    expect((await say([SENTENCE, '--save', 'a.wav'])).stderr).toMatch(/something else than a WAV/);
    server.script({ audioSeconds: 0 });
    expect((await say([SENTENCE, '--save', 'a.pcm'])).stderr).toMatch(/sent no sound/);
    expect(await readdir(directory)).toStrictEqual([]);
  });
});

describe('a long text', () => {
  it('is cut at sentences, and joined without a gap', async () => {
    expect(await say([LONG, '--save', 'a.wav'])).toMatchObject({ code: 0, stderr: '' });
    expect(pieces().join('').trim()).toBe(LONG.trim());
    expect(pieces().length).toBe(Math.ceil(LONG.length / 4096));
    for (const piece of pieces()) expect(piece).toMatch(/^\s*Sentence [^]* many\.\s*$/);
    expect(wavSamples(await saved()).samples).toStrictEqual(spokenPieces());
  });

  it('is one mp3, encoded here: the server’s would have a gap at each seam', async () => {
    expect(await say([LONG, '--save', 'a.mp3'])).toMatchObject({ code: 0, stderr: '' });
    expect(bodies().map((body) => body['response_format'])).toStrictEqual(['wav', 'wav']);
    const decoded = await decodeToPcm(await saved('a.mp3'), { sampleRateHz: 24_000 });
    const expected = spokenPieces();
    // The codec's own padding stands at the ends, two frames of 576 samples at most each.
    expect(Math.abs(decoded.length - expected.length)).toBeLessThan(2400);
    const lag = bestLag(decoded, expected);
    const at = (pieces()[0]?.length ?? 0) * 0.05 * 24_000;
    let error = 0;
    let energy = 0;
    for (let sample = at - 2400; sample < at - 240; sample += 1) {
      error += ((decoded[sample + lag] ?? 0) - (expected[sample] ?? 0)) ** 2;
      energy += (expected[sample] ?? 0) ** 2;
    }
    expect(error / energy).toBeLessThan(0.01);
  });

  it('is cut again where the server takes less', async () => {
    const message =
      "[{'type': 'string_too_long', 'loc': ('body', 'input'), 'msg': 'String should have at most 500 characters', 'ctx': {'max_length': 500}}]";
    const error = { message, type: 'invalid_request_error', param: 'input', code: null };
    const isLong = ({ body }: { body: unknown }) => (body as { input: string }).input.length > 500;
    server.script({ when: isLong, fault: { type: 'status', status: 400, body: { error } } });
    expect(await say([LONG, '--save', 'a.wav'])).toMatchObject({ code: 0, stderr: '' });
    const [refused, ...taken] = pieces();
    expect(refused?.length).toBeGreaterThan(500);
    expect(taken.join('').trim()).toBe(LONG.trim());
    const pcm = Buffer.concat(taken.map((piece) => spokenPcm(piece)));
    expect(wavSamples(await saved()).samples).toStrictEqual(samplesOf(pcm));
  });
});

describe('playing', () => {
  const environment = () => ({ AUDIO_PLAYER: 'file', AUDIO_PLAYER_DIR: join(directory, 'played') });

  it('plays every sample of every piece', async () => {
    expect(await say([LONG], { environment: environment() })).toMatchObject({
      code: 0,
      stderr: '',
    });
    const [name = ''] = await readdir(join(directory, 'played'));
    const { samples } = wavSamples(await saved(join('played', name)));
    expect(samples).toStrictEqual(spokenPieces());
  });

  it('no way to play is one line with the way out', async () => {
    const speaker = { AUDIO_PLAYER: 'speaker', AUDIO_PLAYER_PROGRAM: '/nowhere/aplay' };
    for (const environment of [speaker, { AUDIO_PLAYER: 'none' }]) {
      const outcome = await say(['hi'], { environment });
      expect(outcome).toMatchObject({ code: 1, stdout: '' });
      expect(outcome.stderr).toMatch(
        /^antiphon: [^\n]+ — or go without sound: [^\n]+--save[^\n]+\n$/,
      );
    }
    expect(server.requests).toHaveLength(0);
    expect(await say(['hi'], { environment: { AUDIO_PLAYER: 'toaster' } })).toMatchObject({
      code: 2,
    });
  });

  it.skipIf(!hasPulseAudio())('is heard at the loudspeaker, and silent after Ctrl-C', async () => {
    const pulse = await startPulseAudio();
    const microphone = await pulse.listen();
    try {
      const { child, outcome } = startCli(['say', 'A long tone, which is cut off.'.repeat(20)], {
        environment: {
          ...pulse.environment,
          AUDIO_PLAYER: 'speaker',
          AUDIO_PLAYER_PROGRAM: 'pacat',
          OPENAI_BASE_URL: server.baseUrl,
        },
      });
      await until(() => peak(microphone.samples().subarray(-2400)) > 4000);
      child.kill('SIGINT');
      expect(await outcome).toMatchObject({ code: 130, stderr: '' });
      const before = microphone.samples().length;
      await until(() => microphone.samples().length > before + 24_000);
      expect(peak(microphone.samples().subarray(before + 12_000))).toBe(0);
    } finally {
      await microphone.close();
      await pulse.close();
    }
  });
});

it.each([
  [['say', '...'], /nothing to say/],
  [['say', 'hi', '--format', 'mp3'], /--format is of a file — add --save/],
  [['say', 'hi', '--speed', '9'], /must be a number from 0\.25 to 4/],
  [['say', 'hi', '--format', 'midi'], /Allowed choices are mp3/],
  [['say', 'hi', '--voices', 'x'], /unknown option '--voices' \(Did you mean --voice\?\)/],
  [['sing'], /unknown command 'sing'/],
])('%j is wrong usage: one line, code 2', async (args, pattern) => {
  const outcome = await runCli(args);
  expect(outcome).toMatchObject({ code: 2, stdout: '' });
  expect(outcome.stderr).toMatch(/^antiphon: [^\n]+ — [^\n]+\n$/);
  expect(outcome.stderr).toMatch(pattern);
});

it('npm run: paths start where the caller is, arguments arrive as they are', async () => {
  const environment = {
    OPENAI_BASE_URL: server.baseUrl,
    INIT_CWD: directory,
    npm_lifecycle_event: 'antiphon',
  };
  const root = join(MAIN, '../../../..');
  const { code } = await runCli(['say', '$HOME "x" *', '--save', 'b.wav'], {
    environment,
    directory: root,
  });
  expect(code).toBe(0);
  expect(bodies()).toMatchObject([{ input: '$HOME "x" *' }]);
  expect(await readdir(directory)).toStrictEqual(['b.wav']);
});

function peak(samples: Int16Array): number {
  return samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
}

/** By how many samples `decoded` lies behind `expected`. */
function bestLag(decoded: Int16Array, expected: Int16Array): number {
  const scoreAt = (lag: number): number => {
    let score = 0;
    for (let at = 0; at < 4800; at += 1) score += (decoded[at + lag] ?? 0) * (expected[at] ?? 0);
    return score;
  };
  const lags = Array.from({ length: 2400 }, (_, lag) => lag);
  return lags.reduce((best, lag) => (scoreAt(lag) > scoreAt(best) ? lag : best), 0);
}
