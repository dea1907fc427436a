import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from './until.ts';

/** Hz, of the loudspeaker: sound at another rate is resampled on its way. */
export const SPEAKER_RATE_HZ = 24_000;

/**
 * A microphone at the loudspeaker. While one listens, the null sink works in small steps: without,
 * it takes up to 2 s in advance, and the end of a playback is that late.
 */
export interface Microphone {
  /** All it has heard since `forget`, silence included: s16 mono at `SPEAKER_RATE_HZ`. */
  samples(): Int16Array;
  forget(): void;
  close(): Promise<void>;
}

export interface PulseAudio {
  /** What a program needs in its environment to play here. */
  environment: Record<string, string>;
  /** Resolves when it hears. */
  listen(): Promise<Microphone>;
  /** SIGKILL, as a crash would. */
  kill(): Promise<void>;
  close(): Promise<void>;
}

/**
 * A real sound server of the test's own, in a directory of its own; its loudspeaker is a null sink:
 * it takes sound at the pace of a sound card. Runs as root too, which a user's own server refuses
 * when it reads the system's configuration.
 */
export async function startPulseAudio(): Promise<PulseAudio> {
  const directory = await mkdtemp(join(tmpdir(), 'antiphon-pulse-'));
  const socket = join(directory, 'native');
  const environment = {
    PULSE_SERVER: `unix:${socket}`,
    PULSE_COOKIE: join(directory, 'cookie'),
  };
  const format = `format=s16le rate=${SPEAKER_RATE_HZ} channels=1 channel_map=mono`;
  const server = spawnMortal(
    'pulseaudio',
    [
      ...['-n', '--daemonize=no', '--system=false', '--use-pid-file=false', '--exit-idle-time=-1'],
      ...['--disable-shm=yes', '--realtime=no', '--high-priority=no'],
      ...['-L', `module-null-sink sink_name=speaker ${format}`],
      // Last: where its socket is, everything is.
      ...['-L', `module-native-protocol-unix socket=${socket} auth-anonymous=1`],
    ],
    { ...process.env, HOME: directory, XDG_RUNTIME_DIR: directory },
  );
  await until(() => existsSync(socket), { what: 'pulseaudio' });
  return {
    environment,
    listen: () => listen({ ...process.env, ...environment }),
    kill: () => end(server),
    async close() {
      await end(server);
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function listen(environment: NodeJS.ProcessEnv): Promise<Microphone> {
  const format = ['--raw', '--format=s16le', `--rate=${SPEAKER_RATE_HZ}`, '--channels=1'];
  const recorder = spawnMortal(
    'parec',
    ['--device=speaker.monitor', '--latency-msec=10', ...format],
    environment,
  );
  const pieces: Buffer[] = [];
  recorder.stdout?.on('data', (piece: Buffer) => pieces.push(piece));
  await until(() => pieces.length > 0, { what: 'parec' });
  return {
    samples() {
      const bytes = Uint8Array.from(Buffer.concat(pieces));
      return new Int16Array(bytes.buffer, 0, bytes.byteLength >> 1);
    },
    forget() {
      pieces.length = 0;
    },
    close: () => end(recorder),
  };
}

/** It dies with the test, also when that is killed outright. */
function spawnMortal(program: string, args: string[], env: NodeJS.ProcessEnv): ChildProcess {
  return spawn('setpriv', ['--pdeathsig', 'KILL', '--', program, ...args], {
    stdio: ['ignore', 'pipe', 'ignore'],
    env,
  });
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, 'close');
  child.kill('SIGKILL');
  await closed;
}

/** False where a desktop has another sound server, which nobody replaces for a test. */
export function hasPulseAudio(): boolean {
  return ['pulseaudio', 'aplay'].every(
    (program) => spawnSync(program, ['--version'], { stdio: 'ignore' }).error === undefined,
  );
}
