import { InvalidArgumentError } from 'commander';

/** What every server with batches takes. */
export const USUAL_WINDOW = '24h';
/** Antiphon's limit (README, Batches); OpenAI takes 24h alone. */
const MOST_HOURS = 168;
/** For whoever comes back late: Friday's batch is fetched on Monday. */
const KEPT_BEYOND_SECONDS = 7 * 86_400;

/** For an option: `72h`, or `72`. */
export function completionWindow(value: string): string {
  const hours = Number(/^(\d{1,3})h?$/.exec(value.trim())?.[1] ?? Number.NaN);
  if (hours >= 1 && hours <= MOST_HOURS) return `${hours}h`;
  throw new InvalidArgumentError(`It must be a number of hours from 1h to ${MOST_HOURS}h.`);
}

/** How long the files that a batch needs are kept, when nobody comes back to delete them. */
export const keptSeconds = (window: string): number =>
  Number.parseInt(window, 10) * 3600 + KEPT_BEYOND_SECONDS;
