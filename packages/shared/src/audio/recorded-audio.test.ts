import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { availableParallelism, getPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { PATIENCE, until } from '@antiphon/testing/until';
import type { UploadFormat } from '../services/stt-service.ts';
import { concatenate } from './pcm.ts';
import { openRecordedAudio, type RecordedAudioOptions } from './recorded-audio.ts';
import { detectUploadFormat, UPLOAD_MAGIC_BYTES } from './upload-format.ts';

const run = promisify(execFile);
const NEVER = new AbortController().signal;
const TONE_HZ = 440;
const SECONDS = 2;
/** Real files: made by ffmpeg from a tone in the left channel alone. */
const FILES: { name: string; format: UploadFormat; args: string[] }[] = [
  { name: 'pcm16.wav', format: 'wav', args: [] },
  { name: 'pcm24.wav', format: 'wav', args: ['-c:a', 'pcm_s24le'] },
  { name: 'float.wav', format: 'wav', args: ['-c:a', 'pcm_f32le'] },
  { name: 'u8.wav', format: 'wav', args: ['-c:a', 'pcm_u8'] },
  { name: 'mulaw.wav', format: 'wav', args: ['-c:a', 'pcm_mulaw'] },
  { name: 'adpcm.wav', format: 'wav', args: ['-c:a', 'adpcm_ms'] },
  { name: 'surround.wav', format: 'wav', args: ['-ac', '6'] },
  { name: 'tagged.mp3', format: 'mp3', args: ['-b:a', '96k', '-metadata', 'title=Tone'] },
  { name: 'bare.mp3', format: 'mp3', args: ['-id3v2_version', '0', '-write_xing', '0'] },
  { name: 'layer2.mp2', format: 'mp3', args: ['-f', 'mp2'] },
  { name: 'low.mp3', format: 'mp3', args: ['-id3v2_version', '0', '-ar', '16000'] },
  { name: 'tone.flac', format: 'flac', args: [] },
  { name: 'vorbis.ogg', format: 'ogg', args: [] },
  { name: 'tone.opus', format: 'ogg', args: ['-ar', '48000'] },
  { name: 'tone.webm', format: 'webm', args: ['-c:a', 'libopus', '-ar', '48000'] },
  { name: 'tone.mka', format: 'webm', args: ['-c:a', 'flac'] },
  { name: 'end.m4a', format: 'mp4', args: [] },
  { name: 'start.m4a', format: 'mp4', args: ['-movflags', '+faststart'] },
  { name: 'fragments.mp4', format: 'mp4', args: ['-movflags', 'frag_keyframe+empty_moov'] },
  { name: 'quick.mov', format: 'mp4', args: ['-c:a', 'aac'] },
  { name: 'tone.aac', format: 'aac', args: [] },
];

let folder: string;
/** Ours alone, so that the folders of others do not count. */
let privateTmp: string;
const outerTmp = process.env['TMPDIR'];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'antiphon-audio-test-'));
  privateTmp = join(folder, 'tmp');
  await mkdir(privateTmp);
  process.env['TMPDIR'] = privateTmp;
  const input = join(folder, 'input.wav');
  const source = `aevalsrc=0.5*sin(2*PI*${TONE_HZ}*t)|0:s=44100:d=${SECONDS}`;
  const quiet = ['-nostdin', '-loglevel', 'error', '-y'];
  await run('ffmpeg', [...quiet, '-f', 'lavfi', '-i', source, '-strict', '-2', input]);
  for (const { name, args } of FILES) {
    await run('ffmpeg', [...quiet, '-i', input, ...args, join(folder, name)]);
  }
});

afterAll(async () => {
  if (outerTmp === undefined) delete process.env['TMPDIR'];
  else process.env['TMPDIR'] = outerTmp;
  await rm(folder, { recursive: true });
});

/** Processes of ours, and folders they were given. */
async function leftovers(): Promise<string[]> {
  const children = await readFile(`/proc/self/task/${process.pid}/children`, 'utf8');
  const pids = children.split(' ').filter(Boolean);
  const found = await Promise.all(
    pids.map(async (pid) => (await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')).trim()),
  );
  const running = found.filter((name) => ['ffmpeg', 'sleep'].includes(name));
  return [...running, ...(await readdir(privateTmp))];
}

afterEach(async () => {
  await until(async () => (await leftovers()).length === 0, { what: 'nothing is left' });
});

async function upload(bytes: Uint8Array): Promise<string> {
  const path = join(folder, randomUUID());
  await writeFile(path, bytes);
  return path;
}

function open(path: string, format: UploadFormat, more: Partial<RecordedAudioOptions> = {}) {
  return openRecordedAudio({ path, format, sizeBytes: 0, maxSeconds: 60, ...more });
}

async function decodeAll(
  pcm: AsyncIterable<Uint8Array>,
): Promise<{ samples: Int16Array; pieces: Uint8Array[] }> {
  const pieces: Uint8Array[] = [];
  for await (const piece of pcm) pieces.push(piece);
  return { samples: new Int16Array(concatenate(pieces).slice().buffer), pieces };
}

/** How much of the sound is the tone: 1 for a pure one at any loudness and phase. */
function toneShare(samples: Int16Array, sampleRateHz: number): number {
  let [sine, cosine, energy] = [0, 0, 0];
  samples.forEach((value, index) => {
    const angle = (2 * Math.PI * TONE_HZ * index) / sampleRateHz;
    sine += value * Math.sin(angle);
    cosine += value * Math.cos(angle);
    energy += value * value;
  });
  return (2 * (sine ** 2 + cosine ** 2)) / (samples.length * Math.max(1, energy));
}

describe.each(FILES)('$name', ({ name, format }) => {
  it(`is told to be ${format}`, async () => {
    const bytes = await readFile(join(folder, name));
    expect(detectUploadFormat(bytes.subarray(0, UPLOAD_MAGIC_BYTES))).toBe(format);
    expect(detectUploadFormat(bytes.subarray(0, 12))).toBe(format);
  });

  it('decodes to its tone at its length, in whole samples', async () => {
    const sampleRateHz = 16_000;
    const audio = open(join(folder, name), format);
    const { samples, pieces } = await decodeAll(audio.pcm(sampleRateHz, NEVER));
    expect(Math.abs(samples.length - SECONDS * sampleRateHz)).toBeLessThan(0.1 * sampleRateHz);
    expect(toneShare(samples.subarray(3200, -3200), sampleRateHz)).toBeGreaterThan(0.99);
    for (const piece of pieces) expect(piece.length % 2).toBe(0);
  });
});

it('can be read as it was uploaded, and decoded twice', async () => {
  const path = join(folder, 'bare.mp3');
  const { size } = await stat(path);
  const audio = open(path, 'mp3', { sizeBytes: size });
  expect(audio.sizeBytes).toBe(size);
  expect(audio.format).toBe('mp3');
  const [first, second] = await Promise.all([
    decodeAll(audio.pcm(16_000, NEVER)),
    decodeAll(audio.pcm(16_000, NEVER)),
  ]);
  expect(first.samples).toEqual(second.samples);
  const chunks: Uint8Array[] = [];
  for await (const chunk of audio.bytes()) chunks.push(chunk);
  expect(Buffer.concat(chunks).equals(await readFile(path))).toBe(true);
});

it('agrees with ffmpeg on what a WAV holds', async () => {
  const path = join(folder, 'pcm16.wav');
  const { samples } = await decodeAll(open(path, 'wav').pcm(44_100, NEVER));
  // ffmpeg's own mono mix has the same weights: half of each channel.
  const { stdout } = await run(
    'ffmpeg',
    ['-loglevel', 'error', '-i', path, '-ac', '1', '-f', 's16le', '-'],
    { encoding: 'buffer', maxBuffer: 2 ** 24 },
  );
  const reference = new Int16Array(Uint8Array.from(stdout).buffer);
  expect(samples.length).toBe(reference.length);
  const worst = samples.reduce(
    (most, value, index) => Math.max(most, Math.abs(value - (reference[index] ?? 0))),
    0,
  );
  expect(worst).toBeLessThanOrEqual(1);
});

describe('refuses', () => {
  const HOSTILE: [string, (secret: string) => string][] = [
    ['HLS', (secret) => `#EXTM3U\n#EXTINF:10,\nfile://${secret}\n#EXT-X-ENDLIST\n`],
    ['HLS over HTTP', () => '#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n'],
    ['ffconcat', (secret) => `ffconcat version 1.0\nfile '${secret}'\n`],
    ['SDP', () => 'v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=audio 5004 RTP/AVP 0\n'],
    [
      'DASH',
      (secret) =>
        `<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet mimeType="audio/mp4"><Representation id="a"><BaseURL>file://${secret}</BaseURL></Representation></AdaptationSet></Period></MPD>`,
    ],
  ];
  const FORMATS: UploadFormat[] = ['wav', 'mp3', 'flac', 'ogg', 'webm', 'mp4', 'aac'];

  it.each(HOSTILE)('%s, whatever it is called', async (_, make) => {
    const bytes = Buffer.from(make(join(folder, 'pcm16.wav')));
    expect(detectUploadFormat(bytes)).toBeUndefined();
    const path = await upload(bytes);
    const outcomes = await Promise.allSettled(
      FORMATS.map(async (format) => decodeAll(open(path, format).pcm(16_000, NEVER))),
    );
    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({
        status: 'rejected',
        reason: { code: 'invalid_file_format' },
      });
    }
  });

  it.each(FORMATS)('noise that is called %s', async (format) => {
    const path = await upload(Buffer.from(Array.from({ length: 20_000 }, (_, i) => (i * i) % 251)));
    await expect(decodeAll(open(path, format).pcm(16_000, NEVER))).rejects.toMatchObject({
      code: 'invalid_file_format',
    });
  });

  it('a film without sound', async () => {
    const path = join(folder, 'silent.mp4');
    const picture = ['-f', 'lavfi', '-i', 'color=s=32x32:d=1', path];
    await run('ffmpeg', ['-nostdin', '-loglevel', 'error', '-y', ...picture]);
    await expect(decodeAll(open(path, 'mp4').pcm(16_000, NEVER))).rejects.toMatchObject({
      code: 'invalid_file_format',
    });
  });

  it.each(['pcm16.wav', 'tone.flac'])('%s when it is over the limit', async (name) => {
    const format = name.endsWith('wav') ? 'wav' : 'flac';
    const audio = open(join(folder, name), format, { maxSeconds: 1 });
    await expect(decodeAll(audio.pcm(16_000, NEVER))).rejects.toMatchObject({
      code: 'audio_too_long',
      message: expect.stringContaining('1 seconds'),
    });
    const enough = open(join(folder, name), format, { maxSeconds: SECONDS });
    await expect(decodeAll(enough.pcm(16_000, NEVER))).resolves.toBeDefined();
  });

  it.each(['wav', 'flac'] as const)('a %s of 0.09 s, before anything of it', async (format) => {
    const path = join(folder, `short.${format}`);
    const input = ['-f', 'lavfi', '-i', 'sine=d=0.09'];
    await run('ffmpeg', ['-nostdin', '-loglevel', 'error', '-y', ...input, path]);
    const pieces: Uint8Array[] = [];
    const reading = (async () => {
      for await (const piece of open(path, format).pcm(16_000, NEVER)) pieces.push(piece);
    })();
    await expect(reading).rejects.toMatchObject({ code: 'audio_too_short' });
    expect(pieces).toEqual([]);
    await expect(
      decodeAll(open(path, format, { minSeconds: 0.05 }).pcm(16_000, NEVER)),
    ).resolves.toBeDefined();
  });
});

describe('stops', () => {
  /** An hour of silence: small as FLAC, long to decode. */
  let longPath: string;
  beforeAll(async () => {
    longPath = join(folder, 'long.flac');
    const input = ['-f', 'lavfi', '-i', 'anullsrc=r=48000:d=3600'];
    await run('ffmpeg', ['-nostdin', '-loglevel', 'error', '-y', ...input, longPath]);
  });

  it('ffmpeg at once when it is aborted', async () => {
    const stop = new AbortController();
    const pcm = open(longPath, 'flac', { maxSeconds: 7200 }).pcm(16_000, stop.signal);
    const reason = new Error('the client left');
    const reading = (async () => {
      for await (const _ of pcm) stop.abort(reason);
    })();
    await expect(reading).rejects.toBe(reason);
    expect(await leftovers()).toEqual([]);
  });

  it('while it waits for ffmpeg, too', async () => {
    const stop = new AbortController();
    const fake = await sleepingFfmpeg();
    const pcm = open(longPath, 'flac', { ffmpegPath: fake }).pcm(16_000, stop.signal);
    const aborting = until(async () => (await leftovers()).length > 0).then(() => {
      stop.abort('enough');
      return true;
    });
    const [outcome] = await Promise.allSettled([decodeAll(pcm), aborting]);
    expect(outcome).toMatchObject({ status: 'rejected', reason: 'enough' });
  });

  it('before it has begun when the signal is aborted already', async () => {
    const signal = AbortSignal.abort('gone');
    for (const [name, format] of [
      ['pcm16.wav', 'wav'],
      ['tone.flac', 'flac'],
    ] as const) {
      await expect(decodeAll(open(join(folder, name), format).pcm(16_000, signal))).rejects.toBe(
        'gone',
      );
    }
  });

  it.each([
    ['long.flac', 'flac'],
    ['pcm16.wav', 'wav'],
  ] as const)('when the consumer leaves %s', async (name, format) => {
    const audio = open(join(folder, name), format, { maxSeconds: 7200 });
    for await (const piece of audio.pcm(16_000, NEVER)) {
      expect(piece.length).toBeGreaterThan(0);
      break;
    }
    expect(await leftovers()).toEqual([]);
  });

  it('when ffmpeg takes too long', async () => {
    const ffmpegPath = await sleepingFfmpeg();
    const audio = open(longPath, 'flac', { ffmpegPath, timeoutMs: 50 });
    await expect(decodeAll(audio.pcm(16_000, NEVER))).rejects.toMatchObject({
      code: 'invalid_file_format', // and not worth another try
      message: expect.stringContaining('too long'),
    });
  });

  it.each([
    ['SEGV', 'invalid_file_format'],
    ['ABRT', 'invalid_file_format'],
    ['XCPU', 'invalid_file_format'],
    ['KILL', 'engine_failed'],
  ])('when ffmpeg ends by SIG%s: %s', async (name, code) => {
    const ffmpegPath = await fakeFfmpeg(`sh -c 'kill -${name} $$'`);
    const audio = open(longPath, 'flac', { ffmpegPath });
    await expect(decodeAll(audio.pcm(16_000, NEVER))).rejects.toMatchObject({ code });
  });

  it('nothing when it is the consumer that takes long', async () => {
    const ffmpegPath = await fakeFfmpeg('head -c 1000000 /dev/zero');
    const timeoutMs = 300 * PATIENCE;
    const audio = open(longPath, 'flac', { ffmpegPath, timeoutMs });
    let bytes = 0;
    for await (const piece of audio.pcm(16_000, NEVER)) {
      const startMs = performance.now();
      if (bytes === 0) await until(() => performance.now() - startMs > timeoutMs + 50);
      bytes += piece.length;
    }
    expect(bytes).toBe(1_000_000);
  });

  /** A program that never answers. */
  async function sleepingFfmpeg(): Promise<string> {
    return fakeFfmpeg('sleep 600');
  }

  async function fakeFfmpeg(command: string): Promise<string> {
    const path = join(folder, randomUUID());
    await writeFile(path, `#!/bin/sh\nexec ${command}\n`, { mode: 0o755 });
    return path;
  }
});

it('says what to install when there is no ffmpeg', async () => {
  const audio = open(join(folder, 'tone.flac'), 'flac', { ffmpegPath: 'no-such-ffmpeg' });
  await expect(decodeAll(audio.pcm(16_000, NEVER))).rejects.toMatchObject({
    code: 'engine_failed',
    message: expect.stringContaining('apt-get install ffmpeg'),
  });
});

/** An ffmpeg that first tells what it sees, through a pipe: it may write no file. */
async function spyFfmpeg(tell: string): Promise<{ ffmpegPath: string; reports: string }> {
  const [ffmpegPath, reports] = [join(folder, randomUUID()), join(folder, randomUUID())];
  await run('mkfifo', [reports]);
  const script = `#!/bin/sh\n{ ${tell}; } > ${reports}\nexec ffmpeg "$@"\n`;
  await writeFile(ffmpegPath, script, { mode: 0o755 });
  return { ffmpegPath, reports };
}

it('limits ffmpeg in memory, time and what it may write', async () => {
  const { ffmpegPath, reports } = await spyFfmpeg('cat /proc/self/limits');
  const audio = open(join(folder, 'tone.flac'), 'flac', { ffmpegPath });
  const [seen] = await Promise.all([
    readFile(reports, 'utf8'),
    decodeAll(audio.pcm(16_000, NEVER)),
  ]);
  for (const limit of [
    /^Max address space +1073741824 +1073741824 /m,
    /^Max cpu time +600 +610 /m,
    /^Max file size +0 +0 /m,
    /^Max core file size +0 +0 /m,
  ])
    expect(seen).toMatch(limit);
});

it('runs as many at once as there are cores', async () => {
  const path = join(folder, 'tone.flac');
  const cores = availableParallelism();
  const stop = new AbortController();
  const fake = await spyFfmpeg('true');
  await writeFile(fake.ffmpegPath, '#!/bin/sh\nexec sleep 600\n', { mode: 0o755 });
  const all = Array.from({ length: cores + 2 }, () =>
    decodeAll(open(path, 'flac', { ffmpegPath: fake.ffmpegPath }).pcm(16_000, stop.signal)),
  );
  const outcomes = Promise.allSettled(all);
  const running = async () => (await leftovers()).filter((name) => name === 'sleep').length;
  await until(async () => (await running()) === cores);
  // Those that wait have not even a folder.
  expect(await readdir(privateTmp)).toHaveLength(cores);
  stop.abort('enough');
  expect(await outcomes).toStrictEqual(all.map(() => ({ status: 'rejected', reason: 'enough' })));
});

it('in the background gives way to all else, and takes no place of who waits', async () => {
  const path = join(folder, 'tone.flac');
  const stop = new AbortController();
  const { ffmpegPath } = await spyFfmpeg('true');
  await writeFile(ffmpegPath, '#!/bin/sh\nexec sleep 600\n', { mode: 0o755 });
  const background = Array.from({ length: availableParallelism() }, () =>
    decodeAll(open(path, 'flac', { ffmpegPath, background: true }).pcm(16_000, stop.signal)),
  );
  const outcomes = Promise.allSettled(background);
  const isSleeping = (name: string) => name === 'sleep';
  await until(async () => (await leftovers()).filter(isSleeping).length === background.length);
  const children = await readFile(`/proc/self/task/${process.pid}/children`, 'utf8');
  for (const pid of children.trim().split(' ')) expect(getPriority(Number(pid))).toBe(19);
  const { samples } = await decodeAll(open(path, 'flac').pcm(16_000, NEVER));
  expect(samples.length).toBeGreaterThan(0);
  stop.abort('enough');
  await outcomes;
});

it('gives ffmpeg neither our environment nor a folder with anything in it', async () => {
  const { ffmpegPath, reports } = await spyFfmpeg('env; echo "args: $*"; ls -A');
  process.env['RECORDED_AUDIO_SECRET'] = 'secret';
  try {
    for (const name of ['tone.flac', 'end.m4a']) {
      const format = name === 'tone.flac' ? 'flac' : 'mp4';
      const [seen] = await Promise.all([
        readFile(reports, 'utf8'),
        decodeAll(open(join(folder, name), format, { ffmpegPath }).pcm(16_000, NEVER)),
      ]);
      expect(seen).not.toContain('secret');
      expect(seen).not.toContain(name);
      expect(seen.trimEnd().endsWith('pipe:1')).toBe(true); // and no file
    }
  } finally {
    delete process.env['RECORDED_AUDIO_SECRET'];
  }
});
