import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { plainWavRateHz, WAV_HEADER_BYTES } from '@antiphon/shared/audio/plain-wav';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { lowerChildPriority } from '@antiphon/shared/services/low-priority';
import type { PcmChunk } from '@antiphon/shared/services/tts-service';

const MAX_STDERR_BYTES = 1000;

type EspeakChild = ChildProcessByStdio<Writable, Readable, Readable>;

export interface EspeakCommand {
  path: string;
  args: string[];
  /** It gives way to all else on this machine. */
  background: boolean;
}

/**
 * Speaks `text` with one espeak-ng child, as it goes. The text goes through stdin: in the arguments
 * it would stand in the process list. The child is gone when this returns or throws.
 */
export async function* speakWithChild(
  { path, args, background }: EspeakCommand,
  text: string,
  signal: AbortSignal,
): AsyncGenerator<PcmChunk> {
  signal.throwIfAborted();
  const child = spawn(path, [...args, '-b', '1', '--stdin', '--stdout'], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  if (background) lowerChildPriority(child);
  const ended = once(child, 'close').catch((error: unknown) => [error]);
  const kill = (): boolean => child.kill('SIGKILL');
  signal.addEventListener('abort', kill);
  const stderr = collectStderr(child);
  // A child that is killed while it reads: what happened is told by the signal or the exit code.
  child.stdin.on('error', () => undefined);
  child.stdin.end(text);
  try {
    for await (const chunk of pcmOfWav(child.stdout)) {
      // What the pipe still holds is not played after an abort.
      signal.throwIfAborted();
      yield chunk;
    }
    const [exit] = (await ended) as [number | Error | null];
    signal.throwIfAborted();
    if (exit !== 0) throw new Error(`espeak-ng ended with ${String(exit)}: ${stderr()}`);
  } catch (thrown) {
    signal.throwIfAborted();
    throw VoiceError.from(thrown, 'engine_failed');
  } finally {
    signal.removeEventListener('abort', kill);
    kill();
    await ended;
  }
}

function collectStderr(child: EspeakChild): () => string {
  let text = '';
  child.stderr.setEncoding('utf8');
  child.stderr.on('data', (piece: string) => {
    if (text.length < MAX_STDERR_BYTES) text += piece;
  });
  return () => text.trim();
}

/** The samples of a WAV stream whose header has no sizes; whole samples only. */
async function* pcmOfWav(stream: Readable): AsyncGenerator<PcmChunk> {
  let sampleRateHz: number | undefined;
  let rest: Buffer = Buffer.alloc(0);
  for await (const piece of stream as AsyncIterable<Buffer>) {
    rest = rest.byteLength === 0 ? piece : Buffer.concat([rest, piece]);
    if (sampleRateHz === undefined) {
      if (rest.byteLength < WAV_HEADER_BYTES) continue;
      sampleRateHz = plainWavRateHz(rest);
      if (sampleRateHz === undefined) {
        throw new VoiceError('engine_failed', { cause: 'espeak-ng wrote no plain WAV header' });
      }
      rest = rest.subarray(WAV_HEADER_BYTES);
    }
    const wholeBytes = rest.byteLength & ~1;
    if (wholeBytes === 0) continue;
    // Copied: a slice of a pipe's buffer may start at an odd byte, where no Int16Array can.
    yield { pcm: Uint8Array.from(rest.subarray(0, wholeBytes)), sampleRateHz };
    rest = rest.subarray(wholeBytes);
  }
}
