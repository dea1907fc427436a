import type { Terminal } from '../terminal.ts';

/** Between two lines where nobody sees a bar. */
const PLAIN_EVERY_MS = 10_000;
/** The rate is that of the last while: half of its weight lies within this time. */
const HALF_LIFE_MS = 15_000;
const BAR_CHARACTERS = 24;

export interface Counts {
  done: number;
  total: number;
  failed: number;
}

/** Shows how far a batch is: a bar on a terminal, else a line every 10 s. */
export class Progress {
  readonly #terminal: Terminal;
  readonly #now: () => number;
  #lastMs: number | undefined;
  #lastDone = 0;
  #perSecond: number | undefined;
  #toldMs: number;

  constructor(terminal: Terminal, now: () => number = () => performance.now()) {
    this.#terminal = terminal;
    this.#now = now;
    this.#toldMs = now();
  }

  update({ done, total, failed }: Counts): void {
    this.#measure(done);
    const shown = this.#describe({ done, total, failed });
    if (this.#terminal.hasStatus) {
      const share = total === 0 ? 0 : done / total;
      const full = Math.round(share * BAR_CHARACTERS);
      const bar = '█'.repeat(full) + '░'.repeat(BAR_CHARACTERS - full);
      this.#terminal.status(`${bar} ${Math.floor(share * 100)} %  ${shown}`);
    } else if (this.#now() - this.#toldMs >= PLAIN_EVERY_MS) {
      this.#toldMs = this.#now();
      this.#terminal.notice(shown);
    }
  }

  /** The bar is gone. */
  end(): void {
    this.#terminal.status('');
  }

  /** Exponential smoothing over time, however often it is told. */
  #measure(done: number): void {
    const nowMs = this.#now();
    // Before the first line there is no rate: the batch is being read, or waits for its turn.
    const hasNotBegun = this.#perSecond === undefined && done === this.#lastDone;
    if (this.#lastMs === undefined || hasNotBegun || done < this.#lastDone) {
      this.#lastMs = nowMs;
      this.#lastDone = done;
      this.#perSecond = undefined;
      return;
    }
    const passedMs = nowMs - this.#lastMs;
    if (passedMs < 500) return;
    const perSecond = ((done - this.#lastDone) * 1000) / passedMs;
    const weight = this.#perSecond === undefined ? 1 : 1 - 0.5 ** (passedMs / HALF_LIFE_MS);
    this.#perSecond = (this.#perSecond ?? 0) * (1 - weight) + perSecond * weight;
    this.#lastMs = nowMs;
    this.#lastDone = done;
  }

  #describe({ done, total, failed }: Counts): string {
    const parts = [`${done} of ${total} lines`];
    if (failed > 0) parts.push(`${failed} failed`);
    const rate = this.#perSecond ?? 0;
    if (rate > 0) {
      parts.push(`${rate < 10 ? rate.toFixed(1) : Math.round(rate)} lines/s`);
      if (done < total) parts.push(`${clock((total - done) / rate)} left`);
    }
    return parts.join(', ');
  }
}

/** `59 s`, `1:05`, `2:00:00`. */
export function clock(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  return timestamp(whole);
}

/** `0:07`, `1:05`, `2:00:00`. */
export function timestamp(seconds: number): string {
  const whole = Math.floor(seconds);
  const two = (value: number): string => String(value).padStart(2, '0');
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  const start = hours === 0 ? String(minutes) : `${hours}:${two(minutes)}`;
  return `${start}:${two(whole % 60)}`;
}

/** `1 line`, `2 lines`. */
export const counted = (count: number, noun: string): string =>
  `${count} ${noun}${count === 1 ? '' : 's'}`;
