import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type OpenAIServer, startOpenAIServer } from '@antiphon/testing/openai-server';
import { spokenPcm, toneHz } from '@antiphon/testing/openai-server/speech';
import { hasPulseAudio, type PulseAudio, startPulseAudio } from '@antiphon/testing/pulse-audio';
import { until } from '@antiphon/testing/until';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { OPEN, runCli, startCli } from '../testing/run-cli.ts';
import { wavSamples } from '../testing/wav-samples.ts';

const TEXT = 'Das Fenster ist offen, sagt 李 🎉.';
const TRANSCRIPT = {
  text: TEXT,
  language: 'german',
  durationSeconds: 2,
  words: [{ word: 'Das', start: 0, end: 0.4 }],
  segments: [{ text: TEXT, start: 0, end: 2 }],
};

let server: OpenAIServer;
let directory: string;
beforeEach(async () => {
  server = await startOpenAIServer({ transcript: TRANSCRIPT, models: ['whisper-1', 'x'] });
  directory = await mkdtemp(join(tmpdir(), 'antiphon-cli-'));
  await writeFile(join(directory, 'größe.mp3'), 'sound');
});
afterEach(async () => {
  await server.close();
  await rm(directory, { recursive: true, force: true });
});

const transcribe = (args: string[], stdin?: string) =>
  runCli(['transcribe', ...args], {
    directory,
    environment: { OPENAI_BASE_URL: server.baseUrl },
    ...(stdin === undefined ? {} : { stdin }),
  });
const uploads = () => server.requestsTo('/audio/transcriptions');

describe('a file', () => {
  it('is uploaded whole with its name, and its text is written', async () => {
    const outcome = await transcribe(['größe.mp3', '--language', 'de', '--model', 'm']);
    expect(outcome).toMatchObject({ code: 0, stdout: `${TEXT}\n`, stderr: '' });
    expect(uploads()).toHaveLength(1);
    expect(uploads()[0]).toMatchObject({
      fields: { language: ['de'], model: ['m'], response_format: ['text'] },
      files: { file: [{ name: 'größe.mp3', bytes: Buffer.from('sound') }] },
    });
  });

  it('without --model: the usual one of the server’s', async () => {
    expect(await transcribe(['größe.mp3'])).toMatchObject({ code: 0, stdout: `${TEXT}\n` });
    expect(uploads().map(({ fields }) => fields['model'])).toStrictEqual([
      undefined,
      ['whisper-1'],
    ]);
    expect(uploads()[1]?.files['file']?.[0]?.bytes.toString()).toBe('sound');
  });

  it('comes in the formats of subtitles and data as the server writes them', async () => {
    const inFormat = async (format: string) => {
      const outcome = await transcribe(['größe.mp3', '--model', 'm', '--format', format]);
      expect(outcome).toMatchObject({ code: 0, stderr: '' });
      return outcome.stdout;
    };
    expect(await inFormat('srt')).toBe(`1\n00:00:00,000 --> 00:00:02,000\n${TEXT}\n\n`);
    expect(await inFormat('vtt')).toMatch(/^WEBVTT\n\n00:00:00\.000 --> /);
    expect(JSON.parse(await inFormat('json'))).toMatchObject({ text: TEXT });
    expect(JSON.parse(await inFormat('verbose_json'))).toMatchObject({ language: 'german' });
  });

  it('may be standard input', async () => {
    expect(await transcribe(['-', '--model', 'm'], 'piped')).toMatchObject({ code: 0 });
    expect(uploads()[0]?.files['file']?.[0]?.bytes.toString()).toBe('piped');
  });

  it('several: each under its name; one that fails does not keep the others', async () => {
    const outcome = await transcribe(['größe.mp3', 'gone.wav', 'größe.mp3', '--model', 'm']);
    expect(outcome.code).toBe(1);
    expect(outcome.stdout).toBe(
      `==> größe.mp3 <==\n${TEXT}\n\n==> gone.wav <==\n\n==> größe.mp3 <==\n${TEXT}\n`,
    );
    expect(outcome.stderr).toBe(
      "antiphon: gone.wav: 'gone.wav' cannot be read (ENOENT) — name an audio file\n",
    );
  });

  it('--stream shows the words as they come', async () => {
    server.script({ tokenDelayMs: 50 });
    const { written, outcome } = startCli(['transcribe', 'größe.mp3', '--stream', '--model', 'm'], {
      directory,
      environment: { OPENAI_BASE_URL: server.baseUrl },
    });
    await until(() => written.stdout !== '');
    expect(written.stdout).not.toContain('🎉');
    expect(await outcome).toMatchObject({ code: 0, stdout: `${TEXT}\n`, stderr: '' });
    expect(uploads()[0]?.fields['stream']).toStrictEqual(['true']);
  });

  it('--stream with a model that does not stream gives the same text', async () => {
    const outcome = await transcribe(['größe.mp3', '--stream', '--model', 'whisper-1']);
    expect(outcome).toMatchObject({ code: 0, stdout: `${TEXT}\n`, stderr: '' });
  });

  it.each([
    [{ type: 'early-end', afterTokens: 2 }, /broke off before its end/],
    [{ type: 'cut', by: 'rst', afterTokens: 2 }, /connection broke off/],
  ] as const)('a stream that ends in the middle is an error: %j', async (fault, pattern) => {
    server.script({ fault });
    const outcome = await transcribe(['größe.mp3', '--stream', '--model', 'm']);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toMatch(/^antiphon: [^\n]+ — [^\n]+\n$/);
    expect(outcome.stderr).toMatch(pattern);
  });

  it('Ctrl-C closes the connection', async () => {
    server.script({ fault: { type: 'no-headers' } });
    const { child, outcome } = startCli(['transcribe', 'größe.mp3', '--model', 'm'], {
      directory,
      environment: { OPENAI_BASE_URL: server.baseUrl },
    });
    const upload = await until(() => uploads()[0]);
    child.kill('SIGINT');
    expect(await outcome).toMatchObject({ code: 130, stdout: '', stderr: '' });
    await until(() => upload.abortedAtMs);
  });

  it.each([
    [
      ['größe.mp3', '--model', 'gpt-4o-transcribe', '--format', 'srt'],
      1,
      /name another by --format/,
    ],
    [['.'], 1, /not a file/],
    [[], 2, /nothing to transcribe/],
    [['größe.mp3', '--microphone'], 2, /either files or the microphone/],
    [['größe.mp3', '--seconds', '2'], 2, /add --microphone/],
    [['größe.mp3', 'b.mp3', '--format', 'vtt'], 2, /one file at a time/],
    [['größe.mp3', '--stream', '--format', 'srt'], 2, /--stream shows text/],
  ] as const)('%j: one line, code %i', async (args, code, pattern) => {
    const outcome = await transcribe([...args]);
    expect(outcome).toMatchObject({ code, stdout: '' });
    expect(outcome.stderr).toMatch(/^antiphon: [^\n]+ — [^\n]+\n$/);
    expect(outcome.stderr).toMatch(pattern);
  });
});

describe.skipIf(!hasPulseAudio())('the microphone', () => {
  let pulse: PulseAudio;
  beforeEach(async () => {
    pulse = await startPulseAudio();
  });
  afterEach(async () => {
    await pulse.close();
  });
  const environment = () => ({ ...pulse.environment, OPENAI_BASE_URL: server.baseUrl });
  /** The loudspeaker, which the microphone hears. */
  const playTone = async (text: string) => {
    const args = ['--playback', '--raw', '--format=s16le', '--rate=24000', '--channels=1'];
    const child = spawn('pacat', args, {
      env: { ...process.env, ...pulse.environment },
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    child.stdin.on('error', () => undefined);
    child.stdin.write(spokenPcm(text, { seconds: 30 }));
    await once(child, 'spawn');
    return child;
  };

  it('records until Ctrl-C, and what it heard is transcribed', async () => {
    const player = await playTone('a tone');
    try {
      const args = ['transcribe', '--microphone', '--model', 'm'];
      const { child, written, outcome } = startCli(args, {
        stdin: OPEN,
        environment: environment(),
      });
      await until(() => written.stderr.includes('Ctrl-C ends the recording'));
      // Half a second of it: what is asserted is the sound that was uploaded.
      const startedMs = performance.now();
      await until(() => performance.now() - startedMs > 700);
      child.kill('SIGINT');
      expect(await outcome).toMatchObject({ code: 0, stdout: `${TEXT}\n` });
      const { samples, sampleRateHz } = wavSamples(
        uploads()[0]?.files['file']?.[0]?.bytes ?? Buffer.alloc(0),
      );
      expect(sampleRateHz).toBe(16_000);
      expect(samples.length).toBeGreaterThan(4000);
      const heard = samples.subarray(samples.length - 3200);
      // 200 ms: one crossing more or less is 5 Hz.
      expect(Math.abs(frequencyHz(heard, sampleRateHz) - toneHz('a tone'))).toBeLessThan(10);
    } finally {
      player.kill('SIGKILL');
    }
  });

  it('records for as long as it was told', async () => {
    const args = ['transcribe', '--microphone', '--seconds', '0.5', '--model', 'm'];
    const outcome = await runCli(args, { environment: environment() });
    expect(outcome).toMatchObject({ code: 0, stdout: `${TEXT}\n` });
    expect(outcome.stderr).toMatch(/^antiphon: recording by \S+: for 0\.5 s\n$/);
    const [file] = uploads()[0]?.files['file'] ?? [];
    expect(file?.name).toBe('microphone.wav');
    expect(wavSamples(file?.bytes ?? Buffer.alloc(0)).samples).toHaveLength(8000);
  });

  it('that is not there is one line with every program’s words', async () => {
    await pulse.kill();
    const outcome = await runCli(['transcribe', '--microphone'], { environment: environment() });
    expect(outcome).toMatchObject({ code: 1, stdout: '' });
    expect(outcome.stderr).toMatch(
      /^antiphon: no microphone could be opened \([^\n]*parec: [^\n]+\) — [^\n]+\n$/,
    );
    expect(uploads()).toHaveLength(0);
  });
});

it('no program to record with is told with what to install', async () => {
  const outcome = await runCli(['transcribe', '--microphone'], {
    environment: { PATH: directory },
  });
  expect(outcome.code).toBe(1);
  expect(outcome.stderr).toMatch(
    /^antiphon: there is no program to record with — install one: [^\n]+\n$/,
  );
});

/** By its rising zero crossings. */
function frequencyHz(samples: Int16Array, sampleRateHz: number): number {
  let crossings = 0;
  for (let at = 1; at < samples.length; at += 1) {
    if ((samples[at - 1] ?? 0) < 0 && (samples[at] ?? 0) >= 0) crossings += 1;
  }
  return (crossings * sampleRateHz) / samples.length;
}
