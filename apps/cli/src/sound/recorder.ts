import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { wavHeader } from '@antiphon/shared/audio/wav';
import { CliError, oneLine } from '../cli-error.ts';
import { findProgram } from './find-program.ts';

/** What recognisers work with; more would only be more to send. */
const RECORDING_RATE_HZ = 16_000;
const BYTES_PER_SECOND = RECORDING_RATE_HZ * 2;

interface RecordingProgram {
  program: string;
  args: string[];
}

const PIPE_WIRE_ARGUMENTS = `--rate ${RECORDING_RATE_HZ} --channels 1 --format s16 -`.split(' ');

/** Each writes s16le mono to its standard output. The sound server first: the device may be taken by it. */
const PROGRAMS: RecordingProgram[] = [
  // From some 1.x on it writes a header unless told; 0.3 and 1.0 know no such option and need none.
  { program: 'pw-record', args: ['--raw', ...PIPE_WIRE_ARGUMENTS] },
  { program: 'pw-record', args: PIPE_WIRE_ARGUMENTS },
  {
    program: 'parec',
    args: `--raw --rate=${RECORDING_RATE_HZ} --channels=1 --format=s16le`.split(' '),
  },
  { program: 'arecord', args: `-q -t raw -f S16_LE -r ${RECORDING_RATE_HZ} -c 1 -`.split(' ') },
  { program: 'ffmpeg', args: ffmpegArguments('pulse') },
  { program: 'ffmpeg', args: ffmpegArguments('alsa') },
];

function ffmpegArguments(device: string): string[] {
  const input = `-nostdin -loglevel error -f ${device} -i default`;
  return `${input} -ac 1 -ar ${RECORDING_RATE_HZ} -f s16le pipe:1`.split(' ');
}

export interface RecordOptions {
  environment: NodeJS.ProcessEnv;
  /** The recording ends by itself after so long. */
  seconds?: number;
  /** Ends the recording; what was heard until then is kept. */
  stop: AbortSignal;
  /** Hears the program's name once sound comes in. */
  onStart?: (program: string) => void;
}

/** The programs that can record here, by name. */
export function recordingPrograms(environment: NodeJS.ProcessEnv): string[] {
  const names = PROGRAMS.map(({ program }) => program);
  return [...new Set(names)].filter((name) => findProgram(name, environment));
}

/** Records from the microphone. Returns a WAV; throws a CliError when no program hears anything. */
export async function recordMicrophone(options: RecordOptions): Promise<Uint8Array<ArrayBuffer>> {
  // The last words of each program.
  const failures = new Map<string, string>();
  for (const candidate of PROGRAMS) {
    if (options.stop.aborted) break;
    const path = findProgram(candidate.program, options.environment);
    if (path === undefined) continue;
    const { pcm, complaint } = await recordWith(path, candidate, options);
    if (pcm.byteLength > 0) return wavOf(pcm, options.seconds);
    failures.set(candidate.program, complaint);
  }
  if (options.stop.aborted)
    throw new CliError('nothing was recorded', 'wait for the line that says so');
  if (failures.size === 0) {
    const advice = 'install one: apt-get install alsa-utils (or pipewire-bin, ffmpeg)';
    throw new CliError('there is no program to record with', advice);
  }
  const told = [...failures].map(([program, complaint]) => `${program}: ${complaint}`).join('; ');
  const what = `no microphone could be opened (${told})`;
  throw new CliError(what, 'plug one in, or transcribe a file');
}

async function recordWith(
  path: string,
  { program, args }: RecordingProgram,
  { environment, seconds, stop, onStart }: RecordOptions,
): Promise<{ pcm: Buffer; complaint: string }> {
  const child = spawn(path, args, { env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
  const closed = once(child, 'close').catch(() => [undefined]);
  const end = (): void => void child.kill('SIGINT');
  stop.addEventListener('abort', end, { once: true });
  try {
    const [pcm, words] = await Promise.all([
      readSound(child, seconds, () => onStart?.(program)),
      buffer(child.stderr),
    ]);
    const [code] = await closed;
    const complaint = oneLine(words.toString().trim().split('\n').at(-1) ?? '');
    return { pcm, complaint: complaint === '' ? `ended with code ${String(code)}` : complaint };
  } finally {
    stop.removeEventListener('abort', end);
    child.kill('SIGKILL');
  }
}

async function readSound(
  child: ChildProcessByStdio<null, Readable, Readable>,
  seconds: number | undefined,
  onStart: () => void,
): Promise<Buffer> {
  const wantedBytes = seconds === undefined ? Infinity : Math.ceil(seconds * RECORDING_RATE_HZ) * 2;
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of child.stdout as AsyncIterable<Buffer>) {
    if (bytes === 0) onStart();
    parts.push(part);
    bytes += part.byteLength;
    if (bytes >= wantedBytes) child.kill('SIGINT');
  }
  return Buffer.concat(parts);
}

function wavOf(pcm: Buffer, seconds: number | undefined): Uint8Array<ArrayBuffer> {
  const mostBytes = seconds === undefined ? Infinity : Math.round(seconds * BYTES_PER_SECOND);
  const dataBytes = Math.min(pcm.byteLength, mostBytes) & ~1;
  const header = wavHeader({ sampleRateHz: RECORDING_RATE_HZ, dataBytes });
  return new Uint8Array(Buffer.concat([header, pcm.subarray(0, dataBytes)]));
}
