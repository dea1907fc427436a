import { randomUUID } from 'node:crypto';
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { wavHeader } from '../audio/wav.ts';
import { VoiceError } from '../errors/voice-error.ts';
import type { AudioPlayer, PlayOptions, Playback } from '../services/audio-player.ts';
import { defineEngine } from '../services/define-engine.ts';

/** What may stand in a file's name. */
const STREAM_ID = /^[\w-]{1,100}$/;
const ENDED = 'The playback has ended.';
const STOPPED = 'The playback was stopped.';

interface OpenFile {
  handle: FileHandle;
  /** Until it is whole. */
  temporary: string;
  path: string;
  sampleRateHz: number;
}

/**
 * A WAV that grows under a temporary name and can be read at any time: its header says "to the end"
 * until the sizes are known. Ended or stopped, it gets exact sizes and its own name.
 */
class FilePlayback implements Playback {
  readonly #file: OpenFile;
  readonly #onClosed: () => void;
  /** The last write that was begun. */
  #written: Promise<void>;
  #dataBytes = 0;
  /** Why nothing more is taken. */
  #over: string | undefined;
  #placed: Promise<void> | undefined;

  constructor(file: OpenFile, onClosed: () => void) {
    this.#file = file;
    this.#onClosed = onClosed;
    this.#written = file.handle.appendFile(wavHeader(file));
    this.#written.catch(() => undefined); // told by the next write
  }

  async write(pcm: Uint8Array): Promise<void> {
    if (this.#over !== undefined) throw failed(this.#over);
    this.#written = this.#append(pcm, this.#written);
    try {
      await this.#written;
    } catch (error) {
      const fault = unwritable(error);
      this.#over ??= fault.message;
      await this.stop();
      throw fault;
    }
    if (this.#over === STOPPED) throw failed(STOPPED);
  }

  async #append(pcm: Uint8Array, before: Promise<void>): Promise<void> {
    await before;
    await this.#file.handle.appendFile(pcm);
    this.#dataBytes += pcm.byteLength;
  }

  async end(): Promise<void> {
    if (this.#over !== undefined && this.#over !== ENDED) throw failed(this.#over);
    this.#over = ENDED;
    await this.#place();
  }

  /** What the file could not take was told by its write. */
  async stop(): Promise<void> {
    this.#over ??= STOPPED;
    await this.#place().catch(() => undefined);
  }

  /** Resolves when the file has its name; the handle is closed in any case. */
  #place(): Promise<void> {
    this.#placed ??= this.#putInPlace().finally(this.#onClosed);
    return this.#placed;
  }

  async #putInPlace(): Promise<void> {
    const { handle, temporary, path, sampleRateHz } = this.#file;
    const writeFault = await this.#written.then(
      () => undefined,
      (error: unknown) => unwritable(error),
    );
    try {
      const header = wavHeader({ sampleRateHz, dataBytes: this.#dataBytes });
      // A disk that was full took a part of the last piece.
      await handle.truncate(header.byteLength + this.#dataBytes);
      await handle.write(header, 0, header.byteLength, 0);
      await handle.close();
      await rename(temporary, path);
    } catch (error) {
      await handle.close().catch(() => undefined);
      await rm(temporary, { force: true });
      throw unwritable(error);
    }
    if (writeFault) throw writeFault;
  }
}

function failed(message: string): VoiceError {
  return new VoiceError('player_failed', { message });
}

function unwritable(cause: unknown): VoiceError {
  const { code = 'unknown' } = cause as NodeJS.ErrnoException;
  const message = `The server cannot write into AUDIO_PLAYER_DIR (${code}).`;
  return new VoiceError('player_failed', { message, cause });
}

class FilePlayer implements AudioPlayer {
  readonly audible = true;
  readonly #directory: string;
  readonly #playbacks = new Set<FilePlayback>();
  #closed = false;

  constructor(directory: string) {
    this.#directory = directory;
  }

  async play({ streamId, sampleRateHz }: PlayOptions): Promise<Playback> {
    if (!STREAM_ID.test(streamId)) throw failed('The stream id cannot be a file name.');
    const temporary = join(this.#directory, `${streamId}.${randomUUID()}.part`);
    const path = join(this.#directory, `${streamId}.wav`);
    const handle = await open(temporary, 'wx', 0o600).catch((error: unknown) => {
      throw unwritable(error);
    });
    if (this.#closed) {
      await handle.close();
      await rm(temporary, { force: true });
      throw new VoiceError('server_shutting_down');
    }
    const playback: FilePlayback = new FilePlayback({ handle, temporary, path, sampleRateHz }, () =>
      this.#playbacks.delete(playback),
    );
    this.#playbacks.add(playback);
    return playback;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#playbacks].map((playback) => playback.stop()));
  }
}

export const file = defineEngine({
  description: 'One WAV file per stream in a folder; nobody deletes them',
  defaultConcurrency: 1,
  config: z
    .object({ DATA_DIR: z.string().default('.data'), AUDIO_PLAYER_DIR: z.string().optional() })
    .transform(({ DATA_DIR, AUDIO_PLAYER_DIR }) => AUDIO_PLAYER_DIR ?? join(DATA_DIR, 'played')),
  create: async (directory): Promise<AudioPlayer> => {
    await mkdir(directory, { recursive: true, mode: 0o700 }).catch(
      (cause: NodeJS.ErrnoException) => {
        throw new Error(`AUDIO_PLAYER_DIR: ${directory} cannot be made (${cause.code})`, { cause });
      },
    );
    return new FilePlayer(directory);
  },
});
