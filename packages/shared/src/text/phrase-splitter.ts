import { BlockScanner } from './block-scanner.ts';
import { InlineStripper } from './inline-stripper.ts';
import { type CutPhrase, PhraseCutter } from './phrase-cutter.ts';
import { PlainLines } from './plain-lines.ts';
import type { TextSink } from './text-sink.ts';

/** A piece of text for one speech job. */
export interface Phrase extends CutPhrase {
  /** 0, 1, 2 … without holes. */
  index: number;
  kind: 'first' | 'normal' | 'final';
}

/** Cuts text into phrases as it comes; the result does not depend on how it was cut into deltas. */
export interface PhraseSplitter {
  push(delta: string): Phrase[];
  /** The rest. `push` after it throws a `TypeError`; a second `end` returns nothing. */
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
  /**
   * Hears, as it comes, the raw text (without carriage returns) of blocks that are shown and not
   * said: fenced code with its fences, indented code, tables.
   */
  onUnspoken?: (raw: string) => void;
  /** The engine's own limit in UTF-16 code units; phrases stay under it and under 220. */
  maxCharacters?: number;
  /**
   * False: nobody waits for the first sound, and no phrase is cut early for it. A sentence of 115
   * characters with a comma costs flite 81 ms of CPU as one phrase, 98 as two.
   */
  isAwaited?: boolean;
}

interface Stages {
  first: TextSink;
  cutter: PhraseCutter;
}

/** Controls that are no blanks, byte order marks and soft hyphens: nothing to see, nothing to say. */
// oxlint-disable-next-line no-control-regex -- these are what is dropped
const DROPPED = /^[\u0000-\u0008\u000d-\u001f\u007f-\u0084\u0086-\u009f\u00ad\ufeff]$/;
const LINE_ENDS = new Set('\n\u0085\u2028\u2029');

/**
 * Streamed text → phrases to speak: Markdown blocks → inline marks → cutter. Fed one UTF-16 code
 * unit at a time, so that nothing depends on how the text was cut into deltas.
 */
export function createPhraseSplitter(options: PhraseSplitterOptions = {}): PhraseSplitter {
  let phrases: Phrase[] = [];
  let count = 0;
  let offset = 0;
  let high = '';
  let ended = false;
  const emit = (cut: CutPhrase) => {
    phrases.push({ index: count, kind: count === 0 ? 'first' : 'normal', ...cut });
    count += 1;
  };
  let stages = createStages(options, emit);
  const take = (): Phrase[] => {
    const taken = phrases;
    phrases = [];
    return taken;
  };
  const addUnit = (unit: string) => {
    const place = offset;
    offset += 1;
    if (isHighSurrogate(unit)) high = unit;
    else if (isLowSurrogate(unit)) {
      if (high) stages.first.character(high + unit, place - 1);
      high = '';
    } else {
      high = '';
      if (LINE_ENDS.has(unit)) stages.first.character('\n', place);
      else if (!DROPPED.test(unit)) stages.first.character(unit, place);
    }
  };

  return {
    push(delta) {
      if (ended) throw new TypeError('push after end');
      for (let index = 0; index < delta.length; index += 1) addUnit(delta.charAt(index));
      return take();
    },
    end() {
      if (ended) return [];
      ended = true;
      stages.first.end();
      const last = phrases.at(-1);
      if (last) last.kind = 'final';
      return take();
    },
    flushSentence() {
      if (!ended) stages.cutter.flushSentence();
      return take();
    },
    reset() {
      stages = createStages(options, emit);
      phrases = [];
      count = 0;
      offset = 0;
      high = '';
      ended = false;
    },
  };
}

function createStages(
  {
    language,
    maxCharacters,
    markdown = true,
    onUnspoken = () => undefined,
    isAwaited = true,
  }: PhraseSplitterOptions,
  emit: (cut: CutPhrase) => void,
): Stages {
  const cutter = new PhraseCutter(
    { language, maxCharacters, insertStops: markdown, isAwaited },
    emit,
  );
  const first = markdown
    ? new BlockScanner(new InlineStripper(cutter), onUnspoken)
    : new PlainLines(cutter);
  return { first, cutter };
}

const isHighSurrogate = (unit: string) => unit >= '\ud800' && unit <= '\udbff';
const isLowSurrogate = (unit: string) => unit >= '\udc00' && unit <= '\udfff';
