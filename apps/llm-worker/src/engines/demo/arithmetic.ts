/** One term of a calculation: a number, or one of `+ - * / ^ % ( )`. */
type Term = number | string;

export interface Calculation {
  /** The calculation in words, as it can be spoken. */
  spoken: string;
  /** NaN for a division by zero, an infinity when too large. */
  result: number;
}

const MAX_PROMPT_CHARACTERS = 500;
const MAX_DEPTH = 50;

/** Words that say a calculation is wanted; without one the text must be nothing else. */
const CUE =
  /\b(?:what(?:'s|s| is)|how much|how many|calculate|compute|solve|evaluate|sum|equals?)\b/;

const PHRASES: readonly (readonly [RegExp, string])[] = [
  [/\b(?:multiplied by|times)\b|[×·]/g, ' * '],
  [/\b(?:divided by|over)\b|÷/g, ' / '],
  [/\b(?:to the power of)\b|\*\*/g, ' ^ '],
  [/\bsquared\b/g, ' ^ 2 '],
  [/\bplus\b/g, ' + '],
  [/\bminus\b|−/g, ' - '],
  [/(?:%|\bpercent)\s+of\b/g, ' / 100 * '],
  [/(\d)\s*x\s*(?=\d)/g, '$1 * '],
  [/(\d),(?=\d{3}\b)/g, '$1'],
];

const SMALL_NUMBERS =
  'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen'.split(
    ' ',
  );
const TENS = 'twenty thirty forty fifty sixty seventy eighty ninety'.split(' ');

const SPOKEN_SIGNS: Record<string, string> = {
  '+': 'plus',
  '-': 'minus',
  '*': 'times',
  '/': 'divided by',
  '^': 'to the power of',
};

/** The calculation a text asks for, done; undefined when it asks for none. */
export function calculate(prompt: string): Calculation | undefined {
  if (prompt.length > MAX_PROMPT_CHARACTERS) return undefined;
  let text = prompt.toLowerCase();
  for (const [phrase, sign] of PHRASES) text = text.replace(phrase, sign);
  const words = text.match(/\d+(?:\.\d+)?|\.\d+|[a-z]+|[^\s?!=.,:]/g) ?? [];
  const runs = runsOfTerms(words);
  const isAll = words.every((word) => termOf(word) !== undefined);
  if (!isAll && !CUE.test(prompt.toLowerCase())) return undefined;
  const terms = runs.toSorted((a, b) => b.length - a.length)[0] ?? [];
  const numberCount = terms.filter((term) => typeof term === 'number').length;
  if (numberCount < 2) return undefined;
  const result = new Evaluation(terms).result();
  return result === undefined ? undefined : { spoken: speak(terms), result };
}

/** `0.1 + 0.2` is 0.3: twelve digits are what a float is good for. */
export function writeNumber(value: number): string {
  return String(Number(value.toPrecision(12)));
}

function runsOfTerms(words: readonly string[]): Term[][] {
  const runs: Term[][] = [[]];
  for (const word of words) {
    const term = termOf(word);
    if (term === undefined) runs.push([]);
    else addTerm(runs.at(-1) ?? [], term, /^[a-z]/.test(word));
  }
  return runs;
}

/** `twenty one`, `two hundred`, `three thousand`: words of one number follow each other. */
function addTerm(run: Term[], term: Term, isWord: boolean): void {
  const last = run.at(-1);
  if (!isWord || typeof term !== 'number' || typeof last !== 'number') {
    run.push(term);
  } else {
    run[run.length - 1] = joinNumberWords(last, term);
  }
}

function joinNumberWords(before: number, word: number): number {
  if (word < 100) return before + word;
  if (word > 100) return before * word;
  const hundreds = before % 100;
  return before - hundreds + hundreds * 100;
}

function termOf(word: string): Term | undefined {
  if (/^[\d.]/.test(word)) return Number(word);
  if (/^[-+*/^()]$/.test(word)) return word;
  const small = SMALL_NUMBERS.indexOf(word);
  if (small !== -1) return small;
  const ten = TENS.indexOf(word);
  if (ten !== -1) return (ten + 2) * 10;
  return { hundred: 100, thousand: 1000, million: 1e6 }[word];
}

function speak(terms: readonly Term[]): string {
  const words = terms.map((term) =>
    typeof term === 'number' ? writeNumber(term) : (SPOKEN_SIGNS[term] ?? term),
  );
  return words.join(' ').replaceAll('( ', '(').replaceAll(' )', ')');
}

/** Recursive descent: sum := product (± product)*, product := power (*|/ power)*, power := unary (^ power)?. */
class Evaluation {
  readonly #terms: readonly Term[];
  #at = 0;
  #depth = 0;
  #broken = false;

  constructor(terms: readonly Term[]) {
    this.#terms = terms;
  }

  /** Undefined when the terms are no calculation. */
  result(): number | undefined {
    const value = this.#sum();
    return this.#broken || this.#at < this.#terms.length ? undefined : value;
  }

  #sum(): number {
    let value = this.#product();
    for (;;) {
      if (this.#take('+')) value += this.#product();
      else if (this.#take('-')) value -= this.#product();
      else return value;
    }
  }

  #product(): number {
    let value = this.#power();
    for (;;) {
      if (this.#take('*')) value *= this.#power();
      else if (this.#take('/')) value = divide(value, this.#power());
      else return value;
    }
  }

  #power(): number {
    // -2^2 is -4: the sign binds less than the power.
    if (this.#take('-')) return -this.#nested(() => this.#power());
    const base = this.#atom();
    return this.#take('^') ? base ** this.#nested(() => this.#power()) : base;
  }

  #atom(): number {
    const term = this.#terms[this.#at];
    this.#at += 1;
    if (typeof term === 'number') return term;
    if (term === '(') {
      const value = this.#nested(() => this.#sum());
      if (this.#take(')')) return value;
    }
    this.#broken = true;
    return NaN;
  }

  #nested(read: () => number): number {
    this.#depth += 1;
    if (this.#depth > MAX_DEPTH) this.#broken = true;
    const value = this.#broken ? NaN : read();
    this.#depth -= 1;
    return value;
  }

  #take(sign: string): boolean {
    if (this.#terms[this.#at] !== sign) return false;
    this.#at += 1;
    return true;
  }
}

function divide(value: number, by: number): number {
  return by === 0 ? NaN : value / by;
}
