/** A piece of text for one speech job. */
export interface Phrase {
  /** 0, 1, 2 … without holes. */
  index: number;
  text: string;
  kind: 'first' | 'normal' | 'final';
  /** Where it stood in what was pushed, in UTF-16 code units: `[rawStart, rawEnd)`. */
  rawStart: number;
  rawEnd: number;
  /** The silence that belongs behind it, by the mark it was cut at; `none`: in the middle of a clause. */
  pause: 'none' | 'clause' | 'sentence' | 'paragraph';
  /** What stands between it and the phrase before in a transcript: nothing, a blank, or a blank line. */
  before: '' | ' ' | '\n\n';
}

/** Cuts text into phrases as it comes; the result does not depend on how it was cut into deltas. */
export interface PhraseSplitter {
  push(delta: string): Phrase[];
  /** The rest. `push` after it throws; a second `end` returns nothing. */
  end(): Phrase[];
  /** A complete sentence that waits only for the character after it. */
  flushSentence(): Phrase[];
  /** Forgets everything. */
  reset(): void;
}

export interface PhraseSplitterOptions {
  /** ISO 639-1 or BCP 47; decides what an abbreviation is. Left out: all languages' rules at once. */
  language?: string;
  /** False: the text is not Markdown, only the cutter runs on it. */
  markdown?: boolean;
  /** Hears, as it comes, the raw text of blocks that are shown and not said: code, tables. */
  onUnspoken?: (raw: string) => void;
  /** The engine's own limit; phrases stay under it and under 220. */
  maxCharacters?: number;
}

/** A sentence shorter than this joins the next one; the first one is spoken as soon as it is there. */
const SHORT_CHARACTERS = 24;
const MOST_CHARACTERS = 220;

/** Abbreviations after which a full stop ends nothing. */
const ABBREVIATION =
  /(?:^|[\s(["'])(?:Mr|Mrs|Ms|Dr|Prof|Sr|Jr|St|Gen|Col|Lt|Capt|Rev|Hon|No|Nr|Fig|Vol|vs|etc|approx|dept|est|e\.g|i\.e|z\.B|[A-Z])\.$/;
const ASCII_END = /[.!?…]/;
const WIDE_END = /[。！？｡।॥؟۔]/;
/** Behind a sentence so much is looked at; until it is there nothing is cut by length. */
const LOOKAHEAD_CHARACTERS = 50;
const CLOSING_QUOTE = /["'”’»」]/;
const PARAGRAPH = /^[ \t\r]*\n[ \t\r]*\n/;
/** Marks and closers that stay with the sentence. */
const TAIL = /^[.!?…。！？｡।॥؟۔"'”’)\]}»」』）》】]*/;

/** A sentence cutter over plain text. */
export function createPhraseSplitter({
  maxCharacters = MOST_CHARACTERS,
}: PhraseSplitterOptions = {}): PhraseSplitter {
  const limit = Math.min(maxCharacters, MOST_CHARACTERS);
  let waiting = '';
  let offset = 0;
  let count = 0;
  let ended = false;

  const emit = (length: number, kind?: 'final'): Phrase[] => {
    const raw = waiting.slice(0, length);
    const rawStart = offset;
    waiting = waiting.slice(length);
    offset += length;
    const text = raw.replaceAll(/\s+/g, ' ').trim();
    if (!/[\p{L}\p{N}]/u.test(text)) return [];
    const phrase = {
      index: count,
      text,
      kind: kind ?? (count === 0 ? 'first' : 'normal'),
    } as const;
    count += 1;
    const before = count === 1 ? '' : ' ';
    return [{ ...phrase, rawStart, rawEnd: rawStart + length, pause: 'sentence', before }];
  };
  const takeComplete = (): Phrase[] => {
    const phrases: Phrase[] = [];
    for (;;) {
      const cut = findCut(waiting, { limit, first: count === 0 });
      if (cut === 0) return phrases;
      phrases.push(...emit(cut));
    }
  };

  return {
    push(delta) {
      if (ended) throw new TypeError('push after end');
      waiting += delta;
      return takeComplete();
    },
    end() {
      if (ended) return [];
      ended = true;
      const phrases: Phrase[] = [];
      while (waiting.trim().length > limit) {
        const first = count === 0;
        // As if a new paragraph followed: every sentence end is decided.
        const cut = findCut(`${waiting}\n\n`, { limit, first }) || hardCut(waiting, limit);
        phrases.push(...emit(cut));
      }
      return [...phrases, ...emit(waiting.length, 'final')];
    },
    flushSentence() {
      return /[.!?…。！？]["'”’)\]]*\s*$/.test(waiting) ? emit(waiting.length) : [];
    },
    reset() {
      waiting = '';
      offset = 0;
      count = 0;
      ended = false;
    },
  };
}

/** Where the next phrase ends; 0 while that is not decided. */
function findCut(text: string, { limit, first }: { limit: number; first: boolean }): number {
  for (let position = 0; position < Math.min(text.length, limit); position += 1) {
    const end = sentenceEnd(text, position);
    if (end === 0 || end > limit) continue;
    const enough = first ? /[\p{L}\p{N}]/u.test(text.slice(0, end)) : end >= SHORT_CHARACTERS;
    if (enough) return end;
  }
  // Not earlier: a sentence end just below the limit may not be decided yet, and the result would
  // depend on how the text was cut into deltas.
  return text.length > limit + LOOKAHEAD_CHARACTERS ? hardCut(text, limit) : 0;
}

/** The index behind a sentence that ends at `position`; 0 when none does, or it is not decided yet. */
function sentenceEnd(text: string, position: number): number {
  const mark = text.charAt(position);
  if (mark === '\n')
    return PARAGRAPH.test(text.slice(position, position + LOOKAHEAD_CHARACTERS)) ? position + 1 : 0;
  const wide = WIDE_END.test(mark);
  if (!wide && !ASCII_END.test(mark)) return 0;
  const tail = TAIL.exec(text.slice(position + 1, position + 20))?.[0] ?? '';
  const end = position + 1 + tail.length;
  if (wide) return end < text.length ? end : 0;
  const after = text.slice(end, end + LOOKAHEAD_CHARACTERS);
  if (PARAGRAPH.test(after)) return end;
  const next = /^\s+(\S)/.exec(after)?.[1];
  return next === undefined || goesOn(text, { position, tail, next }) ? 0 : end;
}

/** Whether the stop belongs to an abbreviation, or the sentence goes on in lower case behind it or a quote. */
function goesOn(
  text: string,
  { position, tail, next }: { position: number; tail: string; next: string },
): boolean {
  if (text.charAt(position) !== '.' && !CLOSING_QUOTE.test(tail)) return false;
  const before = text.slice(Math.max(0, position - 8), position + 1);
  return /\p{Ll}/u.test(next) || ABBREVIATION.test(before);
}

/** No sentence end within the limit: at a clause, else a blank, else between two characters. */
function hardCut(text: string, limit: number): number {
  const head = text.slice(0, limit);
  const clause = Math.max(...[', ', '; ', ': ', '、', '，'].map((mark) => head.lastIndexOf(mark)));
  if (clause > limit / 3) return clause + 1;
  const blank = head.search(/\s\S*$/);
  if (blank > limit / 3) return blank + 1;
  const last = head.charCodeAt(limit - 1);
  return last >= 0xd800 && last <= 0xdbff ? limit - 1 : limit;
}
