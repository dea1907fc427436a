import { headingKind, standsAlone } from './chapter-heading.ts';
import type { Section } from './markdown-sections.ts';

/** Fewer bare numbers than this are something else: a page, a list's only item. */
const LEAST_NUMBERS = 2;

/** Cuts plain text at its headings; blank lines end paragraphs, other line breaks are the printer's. */
export function plainSections(text: string): Section[] {
  const blocks = text
    .split(/\n(?:[^\S\n]*\n)+/)
    .map((block) => block.split('\n').filter((line) => line.trim() !== ''))
    .filter((lines) => lines.length > 0);
  const isHeading = headingTest(blocks);
  const sections: Section[] = [{ paragraphs: [] }];
  for (const lines of blocks) {
    const joined = lines.map((line) => line.trim()).join(' ');
    if (isHeading(lines)) sections.push({ heading: withoutHashes(joined), paragraphs: [] });
    else sections.at(-1)?.paragraphs.push(joined);
  }
  return sections;
}

type HeadingTest = (lines: readonly string[]) => boolean;

/** The surest kind of heading that the book has, so that a number on a page begins no chapter. */
function headingTest(blocks: readonly string[][]): HeadingTest {
  const isMarked: HeadingTest = ([line = '', ...more]) =>
    more.length === 0 && /^#{1,2}[ \t]+\S/.test(line);
  if (blocks.some(isMarked)) return isMarked;
  const kinds = blocks.map((lines) => headingKind(lines));
  if (kinds.includes('word')) {
    return (lines) => headingKind(lines) === 'word' || standsAlone(lines);
  }
  if (kinds.filter((kind) => kind === 'number').length >= LEAST_NUMBERS) {
    return (lines) => headingKind(lines) === 'number' || standsAlone(lines);
  }
  return () => false;
}

const withoutHashes = (heading: string): string => heading.replace(/^#{1,2}[ \t]+/, '');
