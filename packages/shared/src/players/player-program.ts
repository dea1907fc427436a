import { basename } from 'node:path';

/** One way to hand s16le mono to the sound server through a program's standard input. */
export interface PlayerProgram {
  /** Name on PATH, or a path. */
  path: string;
  args(sampleRateHz: number): string[];
  /** Silence around the sound, ms, for a program that swallows its edges. */
  paddingMs?: { before: number; after: number };
  /** What it says when it could not play and ends with 0 all the same. */
  complaint?: RegExp;
}

type Variant = Omit<PlayerProgram, 'path'>;

/**
 * By name, in the order in which they are tried; a name with two entries changed its options.
 *
 * Measured on a null sink of PulseAudio 16 (1.5 s of sound, SIGKILL in the middle): all are silent
 * within 10 ms. aplay comes first: first sound after 10 ms, every sample heard, and it is there with
 * and without a sound server. pacat is the same where ALSA does not lead to PulseAudio, pw-play
 * where it does not lead to PipeWire. ffplay is the last: first sound after 100 ms, what is written
 * in small pieces with pauses comes late, and it reads ahead as far as it is let.
 */
const VARIANTS: Record<string, readonly Variant[]> = {
  aplay: [
    {
      // What the device holds of a killed aplay is dropped with it. On a machine with no CPU left,
      // 100 ms in the device had gaps in 2 of 6 playbacks, 300 ms in none. The start delay: short
      // pieces are heard before the buffer is full.
      args: (sampleRateHz) => [
        ...['-q', '-t', 'raw', '-f', 'S16_LE', '-c', '1', '-r', String(sampleRateHz)],
        ...['--buffer-time=300000', '--period-time=20000', '--start-delay=40000'],
      ],
    },
  ],
  pacat: [
    {
      args: (sampleRateHz) => [
        ...['--playback', '--raw', '--format=s16le', '--channels=1', `--rate=${sampleRateHz}`],
        ...['--latency-msec=200', '--process-time-msec=20', '--client-name=antiphon'],
      ],
    },
  ],
  'pw-play': [
    // From some 1.x on, standard input is parsed as a file unless it is called raw; 0.3 and 1.0
    // know no such option and always take it as raw.
    { args: (sampleRateHz) => ['--raw', ...pipeWireArgs(sampleRateHz)] },
    { args: pipeWireArgs },
  ],
  ffplay: [
    {
      args: (sampleRateHz) => [
        ...['-hide_banner', '-loglevel', 'error', '-nodisp', '-autoexit'],
        ...['-probesize', '32', '-analyzeduration', '0', '-fflags', 'nobuffer'],
        // Mono is this format's default; the option for it has changed its name twice.
        ...['-f', 's16le', '-sample_rate', String(sampleRateHz), '-i', 'pipe:0'],
      ],
      // It lost the first 43 ms and the last 58.
      paddingMs: { before: 100, after: 200 },
      complaint: /audio open failed/,
    },
  ],
};

export const PLAYER_NAMES: readonly string[] = Object.keys(VARIANTS);

/** What to try for a name or a path that ends in one of `PLAYER_NAMES`; for none: all of them. */
export function playerPrograms(chosen?: string): PlayerProgram[] {
  const paths = chosen === undefined ? PLAYER_NAMES : [chosen];
  return paths.flatMap((path) =>
    (VARIANTS[basename(path)] ?? []).map((variant) => ({ path, ...variant })),
  );
}

function pipeWireArgs(sampleRateHz: number): string[] {
  return [
    ...['--format', 's16', '--channels', '1', '--rate', String(sampleRateHz)],
    ...['--latency', '20ms', '-'],
  ];
}
