import { BareUrl, startsUrl } from './bare-url.ts';
import type { Unit } from './text-sink.ts';

/** A word that begins as an address does: said as it is, or by its host once it is known to be one. */
export class UrlWord {
  readonly #units: Unit[];
  #text: string;
  #url: BareUrl | undefined;

  constructor(first: Unit) {
    this.#units = [first];
    this.#text = first.character;
  }

  /** Takes the next character; false when it is no part of an address, or the address ended before it. */
  add(unit: Unit): boolean {
    if (this.#url) return this.#url.add(unit);
    const text = this.#text + unit.character;
    const verdict = startsUrl(text);
    if (verdict === 'no') return false;
    this.#units.push(unit);
    this.#text = text;
    if (verdict === 'yes') this.#url = new BareUrl();
    return true;
  }

  get isUrl(): boolean {
    return this.#url !== undefined;
  }

  get said(): readonly Unit[] {
    return this.#url?.host() ?? this.#units;
  }

  /** Marks at the end of an address, which are the sentence's. */
  get trailing(): readonly Unit[] {
    return this.#url?.trailing ?? [];
  }
}
