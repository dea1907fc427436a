import { createReadStream } from 'node:fs';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { VoiceError } from '../errors/voice-error.ts';
import type { UploadFormat } from '../services/stt-service.ts';
import { backgroundDecodeSlots, decodeSlots } from './decode-slots.ts';
import { type FfmpegProcess, startFfmpeg } from './ffmpeg.ts';

export interface DecodeOptions {
  path: string;
  format: UploadFormat;
  sampleRateHz: number;
  /** ffmpeg stops by itself one second after this much sound. */
  maxSeconds: number;
  /** How long ffmpeg may keep us waiting in all; a slow consumer does not count. */
  timeoutMs: number;
  ffmpegPath: string;
  /** Nobody waits for it: it gives way to all else, and is nobody's place. */
  background: boolean;
}

/** ffmpeg's names: the demuxer that is forced, and the only ones that may be opened. */
const DEMUXERS: Record<UploadFormat, string> = {
  wav: 'wav',
  mp3: 'mp3',
  flac: 'flac',
  ogg: 'ogg',
  webm: 'matroska',
  mp4: 'mov',
  aac: 'aac',
};
/** Nothing of the upload's own name reaches ffmpeg. */
const OPEN_FILE = 'file:/dev/fd/3';

/**
 * Decodes what a stranger sent to s16le mono, with an ffmpeg that can open nothing but that:
 * its format is forced by magic bytes and the only one allowed, so that playlists (HLS, ffconcat,
 * SDP, DASH) are refused before they name a file or host. It reads a pipe; MP4 needs to seek (its
 * index may stand at the end) and is given to it as an open file: no second name on disk, which a
 * process that dies would leave there.
 * Only as many run at once as there are cores. Throws `invalid_file_format`, `engine_failed`, or
 * `signal.reason` with ffmpeg killed.
 */
export async function* decodeWithFfmpeg(
  options: DecodeOptions,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const slots = options.background ? backgroundDecodeSlots : decodeSlots;
  const release = await slots.take(signal);
  try {
    yield* decodeInFolder(options, signal);
  } finally {
    release();
  }
}

async function* decodeInFolder(
  options: DecodeOptions,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const folder = await mkdtemp(join(tmpdir(), 'antiphon-decode-'));
  try {
    yield* readOutput(await start(options, folder), options, signal);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function start(options: DecodeOptions, cwd: string): Promise<FfmpegProcess> {
  const { ffmpegPath, path, background } = options;
  const file = needsFile(options) ? await open(path) : undefined;
  try {
    const args = decodeArguments(options);
    const priority = background ? 'lowest' : 'low';
    return await startFfmpeg({ ffmpegPath, args, cwd, file: file?.fd, priority });
  } finally {
    await file?.close(); // it has its own
  }
}

function needsFile({ format }: DecodeOptions): boolean {
  return format === 'mp4';
}

function decodeArguments(options: DecodeOptions): string[] {
  const { format, sampleRateHz, maxSeconds } = options;
  const file = needsFile(options);
  const demuxer = DEMUXERS[format];
  const limit = Number.isFinite(maxSeconds) ? `-t ${maxSeconds + 1}` : '';
  const groups = [
    '-loglevel error -threads 1',
    `-protocol_whitelist ${file ? 'file,pipe' : 'pipe'} -format_whitelist ${demuxer}`,
    `-f ${demuxer} -i ${file ? OPEN_FILE : 'pipe:0'}`,
    `-map 0:a:0 -vn -sn -dn ${limit}`,
    `-ac 1 -ar ${sampleRateHz} -c:a pcm_s16le -f s16le pipe:1`,
  ];
  // None of these values holds a blank: they are numbers and names from tables.
  return groups.flatMap((group) => group.trim().split(' '));
}

async function* readOutput(
  ffmpeg: FfmpegProcess,
  options: DecodeOptions,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const kill = (): void => {
    ffmpeg.kill();
  };
  signal.addEventListener('abort', kill);
  if (signal.aborted) kill(); // while ffmpeg was being started
  const input = needsFile(options) ? undefined : feed(ffmpeg, options.path);
  const patience = new Patience(options.timeoutMs, kill);
  const output: AsyncIterator<Uint8Array> = ffmpeg.stdout[Symbol.asyncIterator]();
  let producedBytes = 0;
  try {
    for (;;) {
      const next = await patience.during(output.next());
      signal.throwIfAborted();
      if (next.done) break;
      producedBytes += next.value.length;
      yield next.value;
    }
    const ending = await patience.during(ffmpeg.exit);
    signal.throwIfAborted();
    const failure = failureOf({ ...ending, timedOut: patience.lost, producedBytes }, ffmpeg);
    if (failure) throw failure;
  } finally {
    signal.removeEventListener('abort', kill);
    kill();
    ffmpeg.stdin.destroy();
    ffmpeg.stdout.destroy();
    await Promise.all([input, ffmpeg.exit]);
  }
}

/** Pipes the file in. ffmpeg may close its end when it has enough: no failure of ours. */
async function feed(ffmpeg: FfmpegProcess, path: string): Promise<void> {
  await pipeline(createReadStream(path), ffmpeg.stdin).catch(() => {});
}

/** Counts only the time spent waiting, and gives up once when it is used up. */
class Patience {
  lost = false;
  #leftMs: number;
  readonly #giveUp: () => void;

  constructor(limitMs: number, giveUp: () => void) {
    this.#leftMs = limitMs;
    this.#giveUp = giveUp;
  }

  async during<T>(work: Promise<T>): Promise<T> {
    const startMs = performance.now();
    const timer = setTimeout(() => {
      this.lost = true;
      this.#giveUp();
    }, this.#leftMs);
    try {
      return await work;
    } finally {
      clearTimeout(timer);
      this.#leftMs = Math.max(1, this.#leftMs - (performance.now() - startMs));
    }
  }
}

interface Ending {
  code: number | null;
  signal: NodeJS.Signals | null;
  timedOut: boolean;
  producedBytes: number;
}

/**
 * How a file ends its decoder that was made to, or that found a fault in it: sent again, it would end
 * the next one. SIGKILL is none: the kernel ends whom it likes when memory runs out.
 */
const CRASHES: ReadonlySet<NodeJS.Signals> = new Set([
  ...(['SIGSEGV', 'SIGABRT', 'SIGBUS', 'SIGFPE', 'SIGILL', 'SIGTRAP', 'SIGSYS'] as const),
  ...(['SIGXCPU', 'SIGXFSZ'] as const), // its limits
]);

function failureOf(ending: Ending, ffmpeg: FfmpegProcess): VoiceError | undefined {
  const cause = ffmpeg.complaints();
  if (ending.timedOut) {
    return new VoiceError('invalid_file_format', {
      message: 'Invalid file format: decoding the audio file took too long.',
      param: 'file',
      cause,
    });
  }
  if (ending.signal !== null && !CRASHES.has(ending.signal)) {
    return new VoiceError('engine_failed', { cause: `${ending.signal} ${cause}`.trimEnd() });
  }
  // ffmpeg ends with 0 after a file in which it found nothing but errors.
  if (ending.code !== 0 || (ending.producedBytes === 0 && cause !== '')) {
    return new VoiceError('invalid_file_format', {
      param: 'file',
      cause: `${ending.signal ?? ''} ${cause}`.trim(),
    });
  }
  return undefined;
}
