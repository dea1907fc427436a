import { isBlank, isDigit, isWordCharacter } from './marks.ts';

/** Longer runs are decoration, wherever they stand. */
const MOST_KEPT = 2;

/** A run of `*`, `_` or `~`, with the characters around it; `next` is empty at the end of a block. */
export interface MarkRun {
  mark: string;
  length: number;
  previous: string;
  next: string;
  inCode: boolean;
}

/** Whether a run is said: `5 * 3`, `5*3`, `snake_case`, `2**3` and `~5` are no emphasis; nor is it in code. */
export function keepsMarkRun({ mark, length, previous, next, inCode }: MarkRun): boolean {
  if (length > MOST_KEPT) return false;
  if (mark === '~') return length === 1;
  if (inCode) return true;
  const between = isWordCharacter(previous) && isWordCharacter(next);
  if (mark === '_') return between;
  if (length > 1) return isDigit(previous) && isDigit(next);
  return between || ((previous === '' || isBlank(previous)) && isBlank(next));
}
