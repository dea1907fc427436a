import { createPhraseSplitter } from '@antiphon/shared/text/phrase-splitter';

/** Text between two headings. */
export interface Section {
  /** The heading as it is said; left out: what comes before the first. */
  heading?: string;
  paragraphs: string[];
}

const ATX = /^ {0,3}#{1,2}(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$/;
const UNDERLINE = /^ {0,3}(?:=+|-{2,})[ \t]*$/;
const FENCE = /^ {0,3}(`{3,}|~{3,})/;
/** A line that an underline makes a heading of: prose, not another block. */
const PLAIN_LINE = /^ {0,3}[^\s#>*+|`~=-]/;

/** Cuts Markdown at its headings of the first two levels. Code is no place for headings. */
export function markdownSections(text: string): Section[] {
  const sections: Section[] = [{ paragraphs: [] }];
  let raw: string[] = [];
  let fence: string | undefined;
  const close = (): void => {
    sections.at(-1)?.paragraphs.push(...spokenParagraphs(raw.join('\n')));
    raw = [];
  };
  const begin = (heading: string): void => {
    close();
    sections.push({ heading: spokenParagraphs(heading).join(' '), paragraphs: [] });
  };
  for (const line of text.split('\n')) {
    const mark = FENCE.exec(line)?.[1];
    const atx = fence === undefined ? ATX.exec(line) : null;
    if (atx) begin(atx[1] ?? '');
    else if (fence === undefined && UNDERLINE.test(line) && isLoneLine(raw)) begin(raw.pop() ?? '');
    else raw.push(line);
    if (fence === undefined) fence = mark;
    else if (mark !== undefined && mark.startsWith(fence) && line.trim() === mark) {
      fence = undefined;
    }
  }
  close();
  return sections;
}

/** Whether the last line is a paragraph of its own so far. */
function isLoneLine(lines: readonly string[]): boolean {
  const before = lines.at(-2);
  const begins = before === undefined || before.trim() === '' || FENCE.test(before);
  return begins && PLAIN_LINE.test(lines.at(-1) ?? '');
}

/** What is said of Markdown: no marks, no code, no tables. */
function spokenParagraphs(markdown: string): string[] {
  const splitter = createPhraseSplitter({ markdown: true });
  const paragraphs: string[] = [];
  for (const { text, before } of [...splitter.push(markdown), ...splitter.end()]) {
    const last = paragraphs.length - 1;
    if (last < 0 || before === '\n\n') paragraphs.push(text);
    else paragraphs[last] += before + text;
  }
  return paragraphs;
}
