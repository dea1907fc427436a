import type { StreamEntry, StreamEvent } from '@antiphon/shared/streams/stream-event';

/** Audio of later phrases that may wait here; beyond it only its place in the log is kept. */
const HELD_BYTES = 262_144;

type AudioEvent = Extract<StreamEvent, { type: 'audio-delta' }>;

interface Held {
  seq: number;
  sizeBytes: number;
  /** Undefined: to be read from the log again. */
  event: AudioEvent | undefined;
}

interface Phrase {
  held: Held[];
  ended: boolean;
}

/** A chunk whose turn it is. */
export interface OrderedChunk {
  seq: number;
  sizeBytes: number;
  pcm: Uint8Array | undefined;
  /** As the event says it. */
  cache?: 'hit' | 'miss' | undefined;
}

/**
 * Puts the phrases' audio in order, in whatever order it was made. The phrase whose turn it is
 * flows through; what later ones have waits, in bounded memory.
 */
export class PhraseOrder {
  readonly #phrases = new Map<number, Phrase>();
  #current = 0;
  #heldBytes = 0;

  add({ seq, sizeBytes, event }: StreamEntry): void {
    if (event.type === 'audio-end' || event.type === 'phrase-error')
      this.#phrase(event.phraseIndex).ended = true;
    if (event.type !== 'audio-delta') return;
    const waits = event.phraseIndex !== this.#current;
    const keeps = !waits || this.#heldBytes + sizeBytes <= HELD_BYTES;
    if (waits && keeps) this.#heldBytes += sizeBytes;
    this.#phrase(event.phraseIndex).held.push({ seq, sizeBytes, event: keeps ? event : undefined });
  }

  /** The chunks whose turn it is, in order. */
  *take(): Generator<OrderedChunk> {
    for (;;) {
      const phrase = this.#phrases.get(this.#current);
      if (!phrase) return;
      // One by one: what was not yielded yet counts as waiting, or the log would lose it too early.
      for (let held = phrase.held.shift(); held; held = phrase.held.shift()) {
        const { seq, sizeBytes, event } = held;
        yield { seq, sizeBytes, pcm: event?.pcm, cache: event?.cache };
      }
      if (!phrase.ended) return;
      this.#phrases.delete(this.#current);
      this.#current += 1;
      const next = this.#phrases.get(this.#current)?.held ?? [];
      for (const { event, sizeBytes } of next) if (event) this.#heldBytes -= sizeBytes;
    }
  }

  /** Phrases of which everything was taken. */
  get phrasesTaken(): number {
    return this.#current;
  }

  /** The lowest seq that was not taken yet; undefined when nothing waits. */
  get firstWaitingSeq(): number | undefined {
    const seqs = [...this.#phrases.values()].flatMap(({ held }) => held.slice(0, 1));
    return seqs.length === 0 ? undefined : Math.min(...seqs.map(({ seq }) => seq));
  }

  #phrase(phraseIndex: number): Phrase {
    let phrase = this.#phrases.get(phraseIndex);
    if (!phrase) {
      phrase = { held: [], ended: false };
      this.#phrases.set(phraseIndex, phrase);
    }
    return phrase;
  }
}
