/** How a stream ended for its client; `open-end`: a clean end of the body that says nothing. */
export type StreamEnd = 'done' | `error:${string}` | 'broken' | 'open-end';

/** What a client saw of one streamed answer. */
export interface SeenStream {
  /** 0: no answer came. */
  status: number;
  /** Texts in order of arrival. */
  contents: readonly string[];
  finishReasons: readonly string[];
  /** Every end that came; one is right. */
  ends: readonly StreamEnd[];
  /** Frames that came behind the first end. */
  framesAfterEnd: number;
  /** From the request to the last byte. */
  durationMs: number;
}

export interface Promised {
  /** The whole answer is `t0 t1 … t<tokenCount - 1>`. */
  tokenCount: number;
  /** A stream that takes longer hangs. */
  maxMs: number;
  /** Whether its socket may break without a word, as {@link EndsPromised} has it. */
  mayBreak?: boolean;
}

export interface EndsPromised {
  /**
   * Only where nobody is left to tell an error (its gateway was killed), or no words are (binary
   * sound); false unless told.
   */
  mayBreak?: boolean;
}

/** What the error of a broken promise begins with: such a failure is no accident of a busy machine. */
export const BROKEN_PROMISE = 'broken promise: ';

/** Fails the test when anything was found that breaks a promise. */
export function expectUnbroken(found: readonly string[]): void {
  if (found.length > 0) throw new Error(`${BROKEN_PROMISE}${found.join('; ')}`);
}

/**
 * What of a stream breaks the promise that holds under every fault: text without holes, doubles or
 * another order; exactly one end, told in words; a good end only behind the whole answer; in time.
 * `[]`: nothing.
 */
export function violations(
  seen: SeenStream,
  { tokenCount, maxMs, mayBreak = false }: Promised,
): string[] {
  return [
    ...tokenViolations(seen.contents.join(''), tokenCount),
    ...endViolations(seen, { mayBreak }),
    ...(seen.ends.includes('done') && countTokens(seen.contents.join('')) !== tokenCount
      ? [`[DONE] behind ${countTokens(seen.contents.join(''))} of ${tokenCount} tokens`]
      : []),
    ...(seen.durationMs > maxMs ? [`took ${Math.round(seen.durationMs)} ms of ${maxMs}`] : []),
  ];
}

/** Those of the ends alone. */
export function endViolations(
  { ends, finishReasons, framesAfterEnd }: SeenStream,
  { mayBreak = false }: EndsPromised = {},
): string[] {
  const found: string[] = [];
  if (ends.length !== 1) found.push(`${ends.length} ends: ${ends.join(', ')}`);
  if (ends.includes('open-end')) found.push('a clean end without [DONE] or an error');
  if (ends.includes('broken') && !mayBreak) found.push('the socket broke without an error');
  if (ends.includes('error:internal_error')) found.push('an error of nobody knows what');
  if (framesAfterEnd > 0) found.push(`${framesAfterEnd} frames behind the end`);
  const isDone = ends.includes('done');
  if (isDone && finishReasons.length !== 1)
    found.push(`[DONE] with ${finishReasons.length} finish reasons`);
  return found;
}

const countTokens = (text: string): number =>
  text.split(' ').filter((token) => token !== '').length;

/** The text must be a prefix of `t0 t1 …`; says where it is none. */
function tokenViolations(text: string, tokenCount: number): string[] {
  const tokens = text.split(' ').filter((token) => token !== '');
  const wrong = tokens.findIndex((token, index) => token !== `t${index}`);
  const isCut = wrong === tokens.length - 1 && `t${wrong} `.startsWith(tokens[wrong] ?? '');
  if (wrong >= 0 && !isCut) return [`token ${wrong} is '${tokens[wrong]}'`];
  return tokens.length > tokenCount ? [`${tokens.length} tokens of ${tokenCount}`] : [];
}

/** What was heard, phrase by phrase, must be those that were said: all of them, or the first ones. */
export function phraseViolations<Heard, Said>(
  heard: readonly Heard[],
  said: readonly Said[],
  {
    isSame,
    isStart,
    whole,
  }: {
    isSame: (heard: Heard, said: Said) => boolean;
    /** Whether the last one that was heard is the beginning of what was said. */
    isStart: (heard: Heard, said: Said) => boolean;
    whole: boolean;
  },
): string[] {
  const found: string[] = [];
  for (const [index, one] of heard.entries()) {
    const expected = said[index];
    const isLast = index === heard.length - 1;
    if (expected === undefined) found.push(`phrase ${index} was never said`);
    else if (!isSame(one, expected) && (whole || !isLast || !isStart(one, expected)))
      found.push(`phrase ${index} is another one`);
  }
  if (whole && heard.length !== said.length)
    found.push(`${heard.length} of ${said.length} phrases behind a good end`);
  return found;
}

/** One entry of a stream's log, as XRANGE gives it. */
export type LogEntry = [id: string, fields: string[]];

/**
 * The same promise in the log: entries contiguous, one end at most, nothing behind it. Unless it is
 * `whole`, delivered entries may be gone, so that the first one may have any number.
 */
export function logViolations(
  entries: readonly LogEntry[],
  { ended, whole = false }: { ended: boolean; whole?: boolean },
): string[] {
  const first = whole ? 1 : Number.parseInt(entries[0]?.[0] ?? '0', 10);
  const found = entries.flatMap(([id], index) =>
    id === `${first + index}-0` ? [] : [`entry ${id} at place ${first + index}`],
  );
  const ends = entries.flatMap(([, [, flag]], index) => (flag === '!' ? [index] : []));
  if (ended && ends.length !== 1) found.push(`${ends.length} ends in the log`);
  if (ends.some((index) => index !== entries.length - 1)) found.push('entries behind the end');
  return found;
}
