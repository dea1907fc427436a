import type { Unit } from './text-sink.ts';

const SCHEMES = ['https://', 'http://', 'www.'];
/** Also the brackets and quotes that addresses are written between, and wide punctuation. */
const END = /[\s<>"`|\\^{}“”„«»‘’…—\u3000-\u303f\uff00-\uffef]/u;
/** Marks that may be the sentence's own when they are the last of an address. */
const TRAILING = new Set(".,;:!?)]'*_~");
const AUTHORITY_END = new Set('/?#');
const MOST_HOST_CHARACTERS = 255;

/** Whether a word may still become an address: `no`, `maybe`, or `yes` once its scheme is whole. */
export function startsUrl(word: string): 'no' | 'maybe' | 'yes' {
  const lower = word.toLowerCase();
  if (SCHEMES.includes(lower)) return 'yes';
  return SCHEMES.some((scheme) => scheme.startsWith(lower)) ? 'maybe' : 'no';
}

/** An address in the text, from behind its scheme: the host is said, the rest is not. */
export class BareUrl {
  readonly #authority: Unit[] = [];
  #inAuthority = true;
  #depth = 0;
  /** Marks at the end so far; they are the sentence's when a blank follows. */
  trailing: Unit[] = [];

  /** Takes the next character; false when the address ended before it. */
  add(unit: Unit): boolean {
    const { character } = unit;
    if (END.test(character)) return false;
    if (character === '(') this.#depth += 1;
    const own = character === ')' && this.#depth > 0;
    if (own) this.#depth -= 1;
    if (TRAILING.has(character) && !own) {
      this.trailing.push(unit);
      return true;
    }
    for (const mark of this.trailing) this.#take(mark);
    this.trailing = [];
    this.#take(unit);
    return true;
  }

  /** The characters to say: the host without user, port and `www.` */
  host(): Unit[] {
    const at = this.#authority.findLastIndex(({ character }) => character === '@');
    const host = this.#authority.slice(at + 1);
    const port = host.findIndex(({ character }) => character === ':');
    const named = port === -1 ? host : host.slice(0, port);
    const start = named.slice(0, 4).map(({ character }) => character.toLowerCase());
    return start.join('') === 'www.' && named.length > 4 ? named.slice(4) : named;
  }

  #take(unit: Unit): void {
    if (AUTHORITY_END.has(unit.character)) this.#inAuthority = false;
    if (this.#inAuthority && this.#authority.length < MOST_HOST_CHARACTERS) {
      this.#authority.push(unit);
    }
  }
}
