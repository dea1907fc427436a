import { join } from 'node:path';
import {
  type AudioFormat,
  BYTES_PER_SAMPLE,
  SAMPLE_RATE_HZ,
} from '@antiphon/shared/audio/audio-format';
import { createAudioEncoder } from '@antiphon/shared/audio/create-audio-encoder';
import { withFlacLength } from '@antiphon/shared/audio/flac-encoder';
import { SampleAligner, samplesToBytes } from '@antiphon/shared/audio/pcm';
import { createOutputFile, createWavFile } from '../sound/output-file.ts';
import { isUnknown } from './batch-failure.ts';
import { type Book, type NumberedPart, partsOf, save } from './book.ts';
import { countFailure } from './book-rounds.ts';
import type { BookChapter } from './book-chapters.ts';
import { titleName } from './file-name.ts';
import type { WrittenChapter } from './book-state.ts';

/** Takes s16le mono at `SAMPLE_RATE_HZ`. */
interface SoundFile {
  write(pcm: Uint8Array): Promise<void>;
  finish(): Promise<void>;
  discard(): Promise<void>;
}

/**
 * Writes each chapter whose parts are all on the server and which is not written yet, and deletes
 * its parts there. A part that is gone from the server counts as one that failed.
 */
export async function writeChapters(book: Book): Promise<void> {
  try {
    for (const chapter of book.chapters) await finishChapter(book, chapter);
  } finally {
    book.context.terminal.status('');
  }
}

async function finishChapter(book: Book, chapter: BookChapter): Promise<void> {
  const { client, context, progress, keep, signal } = book;
  const parts = partsOf(book, chapter);
  if (!(chapter.number in progress.chapters)) {
    if (!parts.every(({ index }) => index in progress.sounds)) return;
    context.terminal.status(`writing ${chapter.title} …`);
    const written = await writeChapter(book, chapter, parts);
    if (written) progress.chapters[chapter.number] = written;
    await save(book);
    if (!written) return;
  }
  const sounds = parts.flatMap(({ index }) => progress.sounds[index] ?? []);
  if (keep || sounds.length === 0) return;
  await client.deleteFiles(
    sounds.map(({ fileId }) => fileId),
    signal,
  );
  signal.throwIfAborted();
  for (const { index } of parts) delete progress.sounds[index];
  await save(book);
}

async function writeChapter(
  book: Book,
  { number, title }: BookChapter,
  parts: readonly NumberedPart[],
): Promise<WrittenChapter | undefined> {
  const { chapters, directory, format } = book;
  const digits = Math.max(2, String(chapters.at(-1)?.number ?? 0).length);
  const name = [String(number).padStart(digits, '0'), titleName(title)].filter(Boolean);
  const file = `${name.join('-')}.${format}`;
  const sound = await createSoundFile(join(directory, file), format);
  try {
    const starts: number[] = [];
    let samples = 0;
    for (const [at, part] of parts.entries()) {
      starts.push(samples);
      const partSamples = await copyPart(book, part, sound);
      if (partSamples === undefined) return undefined;
      const isLast = at === parts.length - 1;
      samples += partSamples + (isLast ? 0 : await pause(part.pauseMs, sound));
    }
    await sound.finish();
    return { file, samples, starts };
  } finally {
    await sound.discard();
  }
}

/** Returns how many samples there were; undefined when the server has the part no more. */
async function copyPart(
  book: Book,
  { index }: NumberedPart,
  sound: SoundFile,
): Promise<number | undefined> {
  const { client, progress, signal } = book;
  const found = progress.sounds[index];
  if (!found) return undefined;
  // Each part has one of its own: a byte too many would turn all that follows into noise.
  const aligner = new SampleAligner();
  let samples = 0;
  try {
    for await (const bytes of client.content(found.fileId, signal, found.bytes)) {
      const whole = aligner.align(bytes);
      samples += whole.length;
      await sound.write(samplesToBytes(whole));
    }
    return samples;
  } catch (thrown) {
    if (!isUnknown(thrown)) throw thrown;
    delete progress.sounds[index];
    countFailure(book, index, 'its sound is gone from the server');
    return undefined;
  }
}

async function pause(pauseMs: number, sound: SoundFile): Promise<number> {
  const samples = Math.round((pauseMs * SAMPLE_RATE_HZ) / 1000);
  await sound.write(new Uint8Array(samples * 2));
  return samples;
}

/** Encoded as one piece: parts that are put together encoded have gaps, or more than one header. */
async function createSoundFile(path: string, format: AudioFormat): Promise<SoundFile> {
  if (format === 'wav') {
    const file = await createWavFile(path, SAMPLE_RATE_HZ);
    return {
      write: (pcm) => file.write(pcm),
      finish: async () => void (await file.finish()),
      discard: () => file.discard(),
    };
  }
  const file = await createOutputFile(path);
  const encoder = await createAudioEncoder(format).catch(async (thrown: unknown) => {
    await file.discard();
    throw thrown;
  });
  let samples = 0;
  let start: Uint8Array | undefined;
  const write = async (bytes: Uint8Array): Promise<void> => {
    if (bytes.byteLength > 0) start ??= bytes;
    await file.write(bytes);
  };
  return {
    async write(pcm) {
      samples += pcm.byteLength / BYTES_PER_SAMPLE;
      await write(await encoder.encode(pcm));
    },
    async finish() {
      await write(await encoder.end());
      if (format === 'flac' && start) await file.overwriteStart(withFlacLength(start, samples));
      await file.finish();
    },
    async discard() {
      encoder.close();
      await file.discard();
    },
  };
}
