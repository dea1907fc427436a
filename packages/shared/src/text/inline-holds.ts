import { isBlank, isDigit } from './marks.ts';

/**
 * What becomes of a construct that is held back: `hold` more; `drop` it with this character;
 * `release` it as text, this character included.
 */
export type Verdict = 'hold' | 'drop' | 'release';

/** A construct that is known only at its end. `text` holds what came, its first character included. */
export interface Hold {
  kind: 'link' | 'tag' | 'math';
  text: string;
  add(character: string): Verdict;
  /** The text is over, or a new block begins. */
  stop(): 'drop' | 'release';
}

const MOST_TARGET = 2100;
const MOST_TAG = 200;
const MOST_COMMENT = 2100;
const MOST_FORMULA = 120;
const MOST_DISPLAY_FORMULA = 500;

/** Tags that begin or end a block. */
const BLOCK_TAG = /^<\/?(?:br|p|li|ul|ol|div|h[1-6]|tr|table|hr|blockquote)\b/i;
const THINK = /^<think(?:ing)?\b/i;
const THINK_END = /^<\/think(?:ing)?\b/i;
const ADDRESS = /^<(?:https?:\/\/\S+|[^\s<>/@]+@[^\s<>/@]+)>$/i;

/** `(target "title")` behind a label. Without a closing bracket only what looks like an address is dropped. */
export class LinkTarget implements Hold {
  readonly kind = 'link';
  text = '(';
  #depth = 1;

  add(character: string): Verdict {
    this.text += character;
    if (character === '(') this.#depth += 1;
    if (character === ')') this.#depth -= 1;
    if (this.#depth === 0) return 'drop';
    if (character === '\n') return 'release';
    return this.text.length >= MOST_TARGET ? this.stop() : 'hold';
  }

  stop(): 'drop' | 'release' {
    return /\s/.test(this.text) ? 'release' : 'drop';
  }
}

/** `<tag …>`, `</tag>`, `<!-- comment -->`, `<https://address>`; `a < b` is none. */
export class Tag implements Hold {
  readonly kind = 'tag';
  text = '<';

  add(character: string): Verdict {
    this.text += character;
    if (this.text.length === 2) return /[a-z/!]/i.test(character) ? 'hold' : 'release';
    if (this.text.startsWith('<!--')) {
      if (this.text.endsWith('-->')) return 'drop';
      return this.text.length >= MOST_COMMENT ? 'release' : 'hold';
    }
    if (character === '>') return 'drop';
    const broken = character === '<' || character === '\n';
    return broken || this.text.length >= MOST_TAG ? 'release' : 'hold';
  }

  stop(): 'release' {
    return 'release';
  }

  /** What a whole tag does: nothing inline, an address is said, what a model thinks is not. */
  meaning(): 'inline' | 'block' | 'think' | 'think-end' | 'address' {
    if (ADDRESS.test(this.text)) return 'address';
    if (THINK.test(this.text)) return 'think';
    if (THINK_END.test(this.text)) return 'think-end';
    return BLOCK_TAG.test(this.text) ? 'block' : 'inline';
  }
}

/** `$x$`, `$$x$$`, `\(x\)`, `\[x\]`; `$5 and $10` is none. */
export class Formula implements Hold {
  readonly kind = 'math';
  text: string;
  #closer: string;
  /** A single `$` closed it, if no digit follows: one character more is needed. */
  closed = false;

  constructor(opener: '$' | '\\(' | '\\[') {
    this.text = opener;
    this.#closer = { $: '$', '\\(': '\\)', '\\[': '\\]' }[opener];
  }

  add(character: string): Verdict {
    const previous = this.text.at(-1) ?? '';
    const length = this.text.length;
    this.text += character;
    if (this.#closer === '$') return this.#addSingle(character, previous, length);
    if (length >= 3 && this.text.endsWith(this.#closer)) return 'drop';
    const inline = this.#closer === '\\)';
    if (inline && character === '\n') return 'release';
    const most = inline ? MOST_FORMULA : MOST_DISPLAY_FORMULA;
    return length >= most ? 'release' : 'hold';
  }

  #addSingle(character: string, previous: string, length: number): Verdict {
    if (length === 1) {
      if (character === '$') this.#closer = '$$';
      return isDigit(character) || isBlank(character) ? 'release' : 'hold';
    }
    if (this.closed) return isDigit(character) ? 'release' : 'drop';
    if (character === '\n' || length >= MOST_FORMULA) return 'release';
    this.closed = character === '$' && !isBlank(previous) && previous !== '\\';
    return 'hold';
  }

  stop(): 'drop' | 'release' {
    return this.closed ? 'drop' : 'release';
  }
}
