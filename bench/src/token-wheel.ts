import { monotonicMs } from './clock.ts';

/** Something that wants to be called once per turn until it says false. */
export type WheelRider = () => boolean;

/**
 * One timer for all streams of one pace. Each rider sits in the slot in which it came and is called
 * when the wheel passes: the streams keep the phases in which they began, and 200 streams cost the
 * timer of one. Slots are 2 ms wide: a token may be that much late, which no figure sees, since
 * tokens carry the time at which they were written.
 */
export class TokenWheel {
  readonly #slots: Set<WheelRider>[];
  readonly #slotMs: number;
  readonly #clock: () => number;
  readonly #startMs: number;
  #passed = 0;
  #riders = 0;
  #turning = false;

  constructor(turnMs: number, slotMs = 2, clock: () => number = monotonicMs) {
    this.#slotMs = slotMs;
    this.#clock = clock;
    this.#startMs = clock();
    this.#slots = Array.from({ length: Math.max(1, Math.round(turnMs / slotMs)) }, () => new Set());
  }

  /** The first call comes one turn from now, give or take a slot. */
  add(rider: WheelRider): void {
    if (this.#riders === 0) this.#passed = this.#now();
    // The slot passed last, not the one of this moment, which may be still to come.
    this.#slot(this.#passed).add(rider);
    this.#riders += 1;
    if (!this.#turning) this.#schedule();
  }

  #schedule(): void {
    this.#turning = true;
    setTimeout(this.#turn, this.#slotMs);
  }

  #now(): number {
    return Math.floor((this.#clock() - this.#startMs) / this.#slotMs);
  }

  #slot(position: number): Set<WheelRider> {
    return this.#slots[position % this.#slots.length]!;
  }

  readonly #turn = (): void => {
    const now = this.#now();
    while (this.#passed < now) {
      this.#passed += 1;
      const slot = this.#slot(this.#passed);
      // A copy, since a rider may add one, which is to wait a turn.
      for (const rider of Array.from(slot)) {
        if (!rider()) {
          slot.delete(rider);
          this.#riders -= 1;
        }
      }
    }
    this.#turning = false;
    if (this.#riders > 0) this.#schedule();
  };
}
