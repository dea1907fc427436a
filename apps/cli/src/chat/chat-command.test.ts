import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type OpenAIServer, startOpenAIServer } from '@antiphon/testing/openai-server';
import type { RecordedRequest } from '@antiphon/testing/openai-server/recorded-request';
import { spokenPcm } from '@antiphon/testing/openai-server/speech';
import { until } from '@antiphon/testing/until';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MAIN, OPEN, runCli, startCli } from '../testing/run-cli.ts';
import { samplesOf, wavSamples } from '../testing/wav-samples.ts';

const PHRASES = [
  { transcript: 'Grüße, hier ist der Code: ', content: '```ts\nconst 数 = 1;\n```\n' },
  { transcript: 'Fertig 🎉.' },
];
const SHOWN = 'Grüße, hier ist der Code: \n```ts\nconst 数 = 1;\n```\nFertig 🎉.';
const SPOKEN = samplesOf(Buffer.concat(PHRASES.map(({ transcript }) => spokenPcm(transcript))));
const REFUSAL = {
  error: {
    message: "Unsupported value: 'modalities' does not support 'audio' yet.",
    type: 'invalid_request_error',
    param: 'modalities',
    code: 'unsupported_value',
  },
};

let server: OpenAIServer;
let directory: string;
beforeEach(async () => {
  server = await startOpenAIServer({ tokens: ['Hello', ' there', ' 🎉.'], models: ['only'] });
  directory = await mkdtemp(join(tmpdir(), 'antiphon-cli-'));
});
afterEach(async () => {
  await server.close();
  await rm(directory, { recursive: true, force: true });
});

const run = (args: string[], more: { stdin?: string; environment?: NodeJS.ProcessEnv } = {}) => {
  const environment = { OPENAI_BASE_URL: server.baseUrl, ...more.environment };
  return runCli(['chat', ...args], { directory, ...more, environment });
};
/** Plays into files, which can be looked at. */
const filePlayer = () => ({ AUDIO_PLAYER: 'file', AUDIO_PLAYER_DIR: join(directory, 'played') });
const bodies = () =>
  server.requestsTo('/chat/completions').map(({ body }) => body as Record<string, unknown>);
const asksAudio = ({ body }: RecordedRequest) =>
  (body as { modalities?: string[] }).modalities?.includes('audio') === true;

describe('text', () => {
  it('asks once, and writes the answer and nothing else', async () => {
    const args = ['What', 'is', 'Größe?', '--no-speak', '--system', 'Be brief.', '--model', 'm'];
    expect(await run(args)).toMatchObject({ code: 0, stdout: 'Hello there 🎉.\n', stderr: '' });
    expect(bodies()).toStrictEqual([
      {
        model: 'm',
        stream: true,
        messages: [
          { role: 'system', content: 'Be brief.' },
          { role: 'user', content: 'What is Größe?' },
        ],
      },
    ]);
    expect(server.requests[0]?.headers.authorization).toBeUndefined();
  });

  it('without --model: the server’s default, else its only model, looked up once', async () => {
    const outcome = await run(['--no-speak'], { stdin: 'one\ntwo\n' });
    expect(outcome).toMatchObject({ code: 0, stderr: '' });
    expect(bodies().map(({ model }) => model)).toStrictEqual([undefined, 'only', 'only']);
    expect(server.requestsTo('/models')).toHaveLength(1);
  });

  it('sends what was said before', async () => {
    const outcome = await run(['--model', 'm', '--no-speak'], { stdin: 'one\n\n  \ntwo\n' });
    expect(outcome).toMatchObject({ code: 0, stdout: 'Hello there 🎉.\nHello there 🎉.\n' });
    expect(bodies()[1]?.['messages']).toStrictEqual([
      { role: 'user', content: 'one' },
      { role: 'assistant', content: 'Hello there 🎉.' },
      { role: 'user', content: 'two' },
    ]);
  });

  it('sends the key that was given, over that of the environment', async () => {
    await run(['hi', '--no-speak', '--model', 'm', '--api-key', 'mine'], {
      environment: { OPENAI_API_KEY: 'theirs' },
    });
    expect(server.requests[0]?.headers.authorization).toBe('Bearer mine');
  });
});

describe('speech', () => {
  beforeEach(() => server.script({ phrases: PHRASES }));

  it('writes the words and the code in their order, and saves every sample', async () => {
    const args = ['hi', '--model', 'm', '--voice', 'echo', '--save', 'answer.wav'];
    expect(await run(args)).toMatchObject({ code: 0, stdout: `${SHOWN}\n`, stderr: '' });
    expect(bodies()[0]).toMatchObject({
      modalities: ['text', 'audio'],
      audio: { voice: 'echo', format: 'pcm16' },
    });
    const { samples, sampleRateHz } = wavSamples(await readFile(join(directory, 'answer.wav')));
    expect(sampleRateHz).toBe(24_000);
    expect(samples).toStrictEqual(SPOKEN);
    expect(await readdir(directory)).toStrictEqual(['answer.wav']);
  });

  it('plays what comes, and saves each answer of a conversation', async () => {
    const outcome = await run(['--model', 'm', '--save', 'a.wav'], {
      stdin: 'one\ntwo\n',
      environment: filePlayer(),
    });
    expect(outcome).toMatchObject({ code: 0, stderr: '' });
    expect((await readdir(directory)).sort()).toStrictEqual(['a-2.wav', 'a.wav', 'played']);
    const played = await readdir(join(directory, 'played'));
    expect(played).toHaveLength(2);
    for (const file of ['a.wav', 'a-2.wav', ...played.map((name) => join('played', name))]) {
      expect(wavSamples(await readFile(join(directory, file))).samples).toStrictEqual(SPOKEN);
    }
    expect(bodies()[1]?.['messages']).toContainEqual({ role: 'assistant', content: SHOWN });
  });

  it('shows once what comes both as text and as words', async () => {
    const phrases = [
      { transcript: '', content: 'Hello **there** `x`.' },
      { transcript: 'Hello there x.' },
    ];
    server.script({ phrases });
    const outcome = await run(['hi', '--model', 'm', '--save', 'a.wav']);
    expect(outcome).toMatchObject({ code: 0, stdout: 'Hello **there** `x`.\n' });
  });

  it('does not ask for sound that nobody hears', async () => {
    expect(await run(['hi', '--model', 'm'])).toMatchObject({ code: 0, stderr: '' });
    expect(bodies()[0]).not.toHaveProperty('modalities');
  });

  it('without a loudspeaker: one line, and the text', async () => {
    const environment = { AUDIO_PLAYER: 'speaker', AUDIO_PLAYER_PROGRAM: '/nowhere/aplay' };
    const stdin = 'one\ntwo\n';
    const outcome = await run(['--model', 'm'], { stdin, environment });
    expect(outcome).toMatchObject({ code: 0, stdout: 'Hello there 🎉.\nHello there 🎉.\n' });
    expect(outcome.stderr).toMatch(
      /^antiphon: [^\n]*\/nowhere\/aplay[^\n]* — going on without sound\n$/,
    );
    const spoken = await run(['one', '--speak', '--model', 'm'], { environment });
    expect(spoken).toMatchObject({ code: 1, stdout: '' });
    expect(spoken.stderr).toMatch(/^antiphon: [^\n]+ — [^\n]+\n$/);
  });
});

describe('a server that does not speak', () => {
  const refuse = () =>
    server.script({ when: asksAudio, fault: { type: 'status', status: 400, body: REFUSAL } });

  it('is said once, and the text goes on', async () => {
    refuse();
    const stdin = 'one\ntwo\n';
    const outcome = await run(['--model', 'm'], { stdin, environment: filePlayer() });
    expect(outcome).toMatchObject({
      code: 0,
      stdout: 'Hello there 🎉.\nHello there 🎉.\n',
      stderr: 'antiphon: the server does not speak its answers — going on with text only\n',
    });
    expect(bodies()).toHaveLength(3);
  });

  it.each([[['--save', 'a.wav']], [['--speak']]])('%j: an error, and no file', async (flags) => {
    refuse();
    const outcome = await run(['hi', '--model', 'm', ...flags], { environment: filePlayer() });
    expect(outcome).toMatchObject({ code: 1, stdout: '' });
    expect(outcome.stderr).toMatch(/^antiphon: the server does not speak its answers — [^\n]+\n$/);
    expect(await readdir(directory)).not.toContain('a.wav');
  });

  it('may also send text as if nothing had been asked', async () => {
    const outcome = await run(['--model', 'm'], { stdin: 'a\nb\n', environment: filePlayer() });
    expect(outcome.code).toBe(0);
    expect(outcome.stderr).toBe(
      'antiphon: the server sent no sound with its answer — going on with text only\n',
    );
    expect(bodies().map((body) => 'modalities' in body)).toStrictEqual([true, false]);
  });

  it('but a voice it does not know is an error', async () => {
    const body = { error: { ...REFUSAL.error, message: 'No such voice.', param: 'audio.voice' } };
    server.script({ when: asksAudio, fault: { type: 'status', status: 400, body } });
    const outcome = await run(['hi', '--model', 'm'], { environment: filePlayer() });
    expect(outcome).toMatchObject({
      code: 1,
      stderr: 'antiphon: No such voice (400) — name another by --voice\n',
    });
  });
});

describe('Ctrl-C', () => {
  const slow = { phrases: PHRASES, tokenDelayMs: 20, headers: { 'x-stream-id': 'stream/7' } };
  const start = (args: string[], program?: string[]) =>
    startCli(
      args,
      {
        directory,
        stdin: OPEN,
        environment: { OPENAI_BASE_URL: server.baseUrl, TERM: 'xterm' },
      },
      program,
    );

  it('closes the connection, tells antiphon, and keeps what came', async () => {
    server.script({ path: '/chat/completions', ...slow });
    const { child, written, outcome } = start(['chat', 'hi', '--model', 'm', '--save', 'a.wav']);
    await until(() => written.stdout.includes('Fertig'));
    child.kill('SIGINT');
    child.kill('SIGINT'); // npm sends a second one
    expect(await outcome).toMatchObject({ code: 130, stdout: `${SHOWN}\n`, stderr: '' });
    await until(() => server.requestsTo('/chat/completions')[0]?.abortedAtMs);
    expect(server.requestsTo('/streams/stream%2F7/cancel')).toMatchObject([{ method: 'POST' }]);
    const { samples } = wavSamples(await readFile(join(directory, 'a.wav')));
    expect(samples.length).toBeGreaterThan(0);
    expect(samples).toStrictEqual(SPOKEN.subarray(0, samples.length));
    expect(samples.length).toBeLessThan(SPOKEN.length);
  });

  it('before the answer began', async () => {
    server.script({ fault: { type: 'no-headers' } });
    const { child, outcome } = start(['chat', 'hi', '--model', 'm', '--no-speak']);
    const request = await until(() => server.requests[0]);
    child.kill('SIGINT');
    expect(await outcome).toMatchObject({ code: 130, stdout: '', stderr: '' });
    await until(() => request.abortedAtMs);
  });

  it('SIGTERM ends it in order too', async () => {
    server.script({ path: '/chat/completions', ...slow });
    const { child, written, outcome } = start(['chat', 'hi', '--model', 'm', '--save', 'a.wav']);
    await until(() => written.stdout.includes('Fertig'));
    child.kill('SIGTERM');
    expect(await outcome).toMatchObject({ code: 143, stderr: '' });
    expect(wavSamples(await readFile(join(directory, 'a.wav'))).samples.length).toBeGreaterThan(0);
  });

  it('on a terminal stops the answer only; Ctrl-D leaves', async () => {
    server.script({ tokens: 1000, tokenDelayMs: 20, times: 1 });
    const command = `${process.execPath} ${MAIN} chat --model m --no-speak`;
    const { child, written, outcome } = start([], ['script', '-qec', command, '/dev/null']);
    await until(() => written.stdout.includes('> '));
    child.stdin.write('one\r');
    await until(() => written.stdout.includes('t3 '));
    child.stdin.write('\u0003');
    const request = await until(() => server.requestsTo('/chat/completions')[0]);
    await until(() => request.abortedAtMs);
    await until(() => /t3 [^]*> /.test(written.stdout));
    child.stdin.write('two\r');
    await until(() => /Hello there 🎉\.[^]*> /.test(written.stdout));
    child.stdin.write('\u0004');
    expect(await outcome).toMatchObject({ code: 0 });
    const messages = bodies()[1]?.['messages'] as { role: string; content: string }[];
    expect(messages.map(({ role }) => role)).toStrictEqual(['user', 'assistant', 'user']);
    expect(messages[1]?.content).toMatch(/^t0 t1 t2 t3 /);
  });

  it('on a terminal at the prompt drops the line; a failed turn does not end it', async () => {
    server.script({ fault: { type: 'status', status: 500 }, times: 1 });
    const command = `${process.execPath} ${MAIN} chat --model m --no-speak`;
    const { child, written, outcome } = start([], ['script', '-qec', command, '/dev/null']);
    await until(() => written.stdout.includes('> '));
    child.stdin.write('dropped\u0003');
    await until(() => written.stdout.includes('Ctrl-D leaves'));
    child.stdin.write('fails\r');
    await until(() => written.stdout.includes('(500)'));
    child.stdin.write('two\r');
    await until(() => written.stdout.includes('🎉'));
    child.stdin.write('\u0004');
    expect(await outcome).toMatchObject({ code: 0 });
    expect(bodies().at(-1)?.['messages']).toStrictEqual([{ role: 'user', content: 'two' }]);
  });
});

describe('failures are one line', () => {
  const expectFailure = async (args: string[], pattern: RegExp, code = 1) => {
    const outcome = await run(['hi', '--model', 'm', '--no-speak', ...args]);
    expect(outcome.stderr).toMatch(/^antiphon: [^\n]+ — [^\n]+\n$/);
    expect(outcome.stderr).toMatch(pattern);
    expect(outcome.code).toBe(code);
    return outcome;
  };

  it.each([
    [{ type: 'error-frame', afterTokens: 1 }, /broke off/],
    [{ type: 'early-end', afterTokens: 1 }, /broke off before its end/],
    [{ type: 'cut', by: 'rst', afterTokens: 1 }, /connection broke off/],
    [{ type: 'cut', by: 'fin', afterTokens: 1 }, /connection broke off/],
    [{ type: 'html' }, /text\/html/],
    [{ type: 'garbage' }, /not an answer/],
    [{ type: 'status', status: 503, headers: { 'retry-after': '7' } }, /try again in 7 s/],
    [{ type: 'status', status: 500, body: 'x\u001b[2Jy' }, /^\P{Cc}*req_scripted\n$/u],
  ] as const)('%j', async (fault, pattern) => {
    server.script({ fault });
    await expectFailure([], pattern);
  });

  it('no server, or no address of one', async () => {
    await server.close();
    await expectFailure([], /no server answers at \S+ \(ECONNREFUSED\) — start one by `npm start`/);
    await expectFailure(['--base-url', 'localhost:8000'], /not the address of a server/, 2);
  });

  it('a refused key, which is not shown', async () => {
    await server.close();
    server = await startOpenAIServer({ apiKey: 'right' });
    const { stderr } = await expectFailure(['--api-key', 'canary'], /refused the key \(401\)/);
    expect(stderr).not.toContain('canary');
  });

  it('a file that cannot be written is told before anything is asked', async () => {
    await expectFailure(['--save', 'no/folder/a.wav'], /cannot be written \(ENOENT\)/);
    await expectFailure(['--save', 'a.mp3'], /end the name in \.wav/, 2);
    expect(server.requests).toHaveLength(0);
  });

  it('a failed answer leaves the file of that name as it was', async () => {
    await writeFile(join(directory, 'a.wav'), 'before');
    server.script({ fault: { type: 'status', status: 500 } });
    await expectFailure(['--save', 'a.wav'], /500/);
    expect(await readFile(join(directory, 'a.wav'), 'utf8')).toBe('before');
    expect(await readdir(directory)).toStrictEqual(['a.wav']);
  });
});

it('a closed pipe is quiet, and ends the stream', async () => {
  server.script({ answerBytes: 50_000_000 });
  const command = `"$0" "$1" chat hi --model m --no-speak --base-url ${server.baseUrl} | head -c 4; echo " \${PIPESTATUS[0]}"`;
  const { outcome } = startCli([], { directory }, ['bash', '-c', command, process.execPath, MAIN]);
  expect(await outcome).toMatchObject({ stdout: 'xxxx 0\n', stderr: '' });
  await until(() => server.requestsTo('/chat/completions')[0]?.abortedAtMs);
});
