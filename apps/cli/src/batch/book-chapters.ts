import { isSpeakable } from '../speech/cut-text.ts';
import { cutPart } from './book-cuts.ts';
import { markdownSections } from './markdown-sections.ts';
import { plainSections } from './plain-sections.ts';

/** What one request speaks. */
export interface BookPart {
  text: string;
  /** Silence behind it, when another part of the chapter follows. */
  pauseMs: number;
}

export interface BookChapter {
  /** From 1; 0 is what comes before the first heading. */
  number: number;
  title: string;
  parts: BookPart[];
}

export interface BookOptions {
  markdown: boolean;
  /** Of the book, for one without headings. */
  title: string;
}

/** What OpenAI takes in one request, and antiphon unless told otherwise. */
const MOST_CHARACTERS = 4096;
const PARAGRAPH_PAUSE_MS = 700;
const HEADING_PAUSE_MS = 1000;

/**
 * Chapters by headings, parts by paragraphs; a paragraph over 4,096 characters is cut at the ends
 * of sentences. Every word is in one part, in the text's order, but for Markdown that is not said
 * (code, tables). A heading without text is said at the beginning of the next chapter. What has
 * neither letter nor digit is no part. An empty list: there is nothing to say.
 */
export function cutBook(text: string, { markdown, title }: BookOptions): BookChapter[] {
  const lines = text.replaceAll(/\r\n?|[\u0085\u2028\u2029\f]/g, '\n');
  const sections = markdown ? markdownSections(lines) : plainSections(lines);
  const chapters: BookChapter[] = [];
  let headings: string[] = [];
  for (const [at, { heading, paragraphs }] of sections.entries()) {
    if (heading !== undefined) headings.push(heading);
    const parts = partsOf(headings, paragraphs);
    const isLast = at === sections.length - 1;
    if (parts.length === 0 || (!isLast && !paragraphs.some(isSpeakable))) continue;
    const number = heading === undefined ? 0 : (chapters.at(-1)?.number ?? 0) + 1;
    chapters.push({ number, title: heading ?? 'Beginning', parts });
    headings = [];
  }
  const [only] = chapters;
  if (only?.number === 0 && chapters.length === 1) return [{ ...only, number: 1, title }];
  return chapters;
}

function partsOf(headings: readonly string[], paragraphs: readonly string[]): BookPart[] {
  return [
    ...headings.flatMap((heading) => cutParagraph(heading, HEADING_PAUSE_MS)),
    ...paragraphs.flatMap((paragraph) => cutParagraph(paragraph, PARAGRAPH_PAUSE_MS)),
  ];
}

/** Behind a piece of a paragraph is only the pause that the sentence has by itself. */
function cutParagraph(text: string, pauseMs: number): BookPart[] {
  return isSpeakable(text) ? cutPart({ text: text.trim(), pauseMs }, MOST_CHARACTERS) : [];
}
