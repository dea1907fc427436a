import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SAMPLE_RATE_HZ } from '@antiphon/shared/audio/audio-format';
import type { Book } from './book.ts';
import { timestamp } from './progress.ts';

/** Of a paragraph, in the table of contents. */
const SHOWN_CHARACTERS = 60;

interface ContentsChapter {
  number: number;
  title: string;
  file: string;
  /** In the whole book. */
  startSeconds: number;
  durationSeconds: number;
  /** `startSeconds` is in the chapter. */
  paragraphs: { startSeconds: number; text: string }[];
}

/**
 * Writes what is where: `contents.json`, `contents.txt` and `chapters.m3u`, of the chapters that are
 * there. Returns the text.
 */
export async function writeContents({
  chapters,
  directory,
  progress,
  title,
}: Book): Promise<string> {
  let samples = 0;
  const listed: ContentsChapter[] = [];
  for (const { number, title, parts } of chapters) {
    const written = progress.chapters[number];
    if (!written) continue;
    listed.push({
      ...{ number, title, file: written.file },
      startSeconds: seconds(samples),
      durationSeconds: seconds(written.samples),
      paragraphs: parts.map(({ text }, at) => ({
        startSeconds: seconds(written.starts[at] ?? 0),
        text: beginning(text),
      })),
    });
    samples += written.samples;
  }
  const table = listed.map(tableRow).join('');
  const contents = { title, durationSeconds: seconds(samples), chapters: listed };
  await replace(join(directory, 'contents.json'), `${JSON.stringify(contents, undefined, 2)}\n`);
  await replace(join(directory, 'contents.txt'), table);
  await replace(join(directory, 'chapters.m3u'), `#EXTM3U\n${listed.map(playlistEntry).join('')}`);
  return table;
}

/** The start of a text, for someone who looks for it. */
export function beginning(text: string): string {
  if (text.length <= SHOWN_CHARACTERS) return text;
  return `${text
    .slice(0, SHOWN_CHARACTERS)
    .toWellFormed()
    .replace(/\s+\S*$/, '')} …`;
}

function tableRow({ title, file, startSeconds, durationSeconds }: ContentsChapter): string {
  const columns = [timestamp(startSeconds).padStart(8), timestamp(durationSeconds).padStart(8)];
  return `${columns.join('  ')}  ${title.replaceAll(/\s+/g, ' ')}  (${file})\n`;
}

function playlistEntry({ title, file, durationSeconds }: ContentsChapter): string {
  return `#EXTINF:${Math.round(durationSeconds)},${title.replaceAll(/\s+/g, ' ')}\n${file}\n`;
}

const seconds = (samples: number): number => Math.round((samples / SAMPLE_RATE_HZ) * 1000) / 1000;

async function replace(path: string, text: string): Promise<void> {
  await writeFile(`${path}.unfinished`, text);
  await rename(`${path}.unfinished`, path);
}
