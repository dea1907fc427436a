import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises';
import { wavHeader } from '@antiphon/shared/audio/wav';
import { CliError } from '../cli-error.ts';

/** A file that appears under its name only when it is whole: what stood there before stays until then. */
export interface OutputFile {
  readonly sizeBytes: number;
  write(bytes: Uint8Array): Promise<void>;
  /** Writes over the file's beginning. */
  overwriteStart(bytes: Uint8Array): Promise<void>;
  finish(): Promise<void>;
  /** Nothing is left of it. After `finish` it does nothing. */
  discard(): Promise<void>;
}

/** Throws a CliError when nothing can be written there, before anything was asked of a server. */
export async function createOutputFile(path: string): Promise<OutputFile> {
  const unfinished = `${path}.unfinished`;
  const present = await stat(path).catch(() => undefined);
  if (present && !present.isFile()) {
    throw new CliError(`'${path}' is not a file`, 'name a file to save to');
  }
  const handle = await open(unfinished, 'w').catch((cause: NodeJS.ErrnoException) => {
    const what = `'${path}' cannot be written (${cause.code})`;
    throw new CliError(what, 'name a file in a folder that is there', { cause });
  });
  let sizeBytes = 0;
  let isOpen = true;
  const close = async (): Promise<boolean> => {
    if (!isOpen) return false;
    isOpen = false;
    await handle.close();
    return true;
  };
  return {
    get sizeBytes() {
      return sizeBytes;
    },
    async write(bytes) {
      await writeAll(handle, bytes, sizeBytes);
      sizeBytes += bytes.byteLength;
    },
    overwriteStart: (bytes) => writeAll(handle, bytes, 0),
    async finish() {
      if (await close()) await rename(unfinished, path);
    },
    async discard() {
      if (await close()) await rm(unfinished, { force: true });
    },
  };
}

/** A write may take less than it was given. */
async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.byteLength;) {
    const left = bytes.byteLength - at;
    const { bytesWritten } = await handle.write(bytes, at, left, position + at);
    at += bytesWritten;
  }
}

/** A WAV of s16le mono with sizes that tell the truth, whenever it ends. */
export interface WavFile {
  write(pcm: Uint8Array): Promise<void>;
  /** Seconds that were saved; 0 leaves no file. */
  finish(): Promise<number>;
  discard(): Promise<void>;
}

/** Throws a CliError when nothing can be written there. */
export async function createWavFile(path: string, sampleRateHz: number): Promise<WavFile> {
  const file = await createOutputFile(path);
  await file.write(wavHeader({ sampleRateHz }));
  const headerBytes = file.sizeBytes;
  return {
    write: (pcm) => file.write(pcm),
    async finish() {
      const samples = Math.floor((file.sizeBytes - headerBytes) / 2);
      if (samples === 0) {
        await file.discard();
        return 0;
      }
      await file.overwriteStart(wavHeader({ sampleRateHz, dataBytes: samples * 2 }));
      await file.finish();
      return samples / sampleRateHz;
    },
    discard: () => file.discard(),
  };
}
