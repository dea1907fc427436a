import { CodeFence } from './code-fence.ts';
import { LineStart } from './line-start.ts';
import { isBlank } from './marks.ts';
import type { TextSink, Unit } from './text-sink.ts';

/** A fence's language and title; what is longer is a fence all the same. */
const MOST_INFO = 200;
/** Behind backticks in the middle of a line, until it is clear what they are. */
const MOST_SPAN = 1000;
const MOST_TABLE_LINE = 2000;
/** Code is passed on by lines, longer ones in parts. */
const MOST_RAW = 1000;
const FENCE_LENGTH = 3;

type Mode =
  /** The beginning of a line. */
  | 'start'
  | 'text'
  /** A run of backticks in a line. */
  | 'ticks'
  /** Behind three backticks or more in the middle of a line: inline code or a fence. */
  | 'span'
  /** Behind an opening fence, in its line. */
  | 'info'
  | 'fence'
  /** A line of indented code, or a table's row. */
  | 'raw'
  /** A line that may be a table's head, and the line behind it. */
  | 'pipe'
  | 'rule';

/**
 * The first stage: Markdown blocks. Prose goes on character by character once the beginning of its
 * line tells that it is prose; fenced code, indented code and tables never do.
 */
export class BlockScanner implements TextSink {
  readonly #sink: TextSink & { readonly muted: boolean };
  readonly #unspoken: (raw: string) => void;
  #mode: Mode = 'start';
  #start = new LineStart({ indentedCode: false, afterMarker: false });
  /** Units that are not decided; what that is depends on the mode. */
  #held: Unit[] = [];
  #ruleHeld: Unit[] = [];
  #raw = '';
  #fence: CodeFence | undefined;
  /** The run of the open inline code, 0 outside; the run that opened `span`; the run at its end. */
  #spanRun = 0;
  #openRun = 0;
  #run = 0;
  #info = 0;
  /** A line end that joins two lines, unless the next one begins a block. */
  #lineEnd: Unit | undefined;
  /** A list item's number: said only when text follows. */
  #number: Unit[] = [];
  #heading = false;
  #inList = false;
  #afterBlank = false;
  #inTable = false;
  /** Blank lines behind indented code, which belong to it when more code follows. */
  #codeBlanks: string | undefined;

  constructor(sink: TextSink & { readonly muted: boolean }, onUnspoken: (raw: string) => void) {
    this.#sink = sink;
    this.#unspoken = onUnspoken;
  }

  character(character: string, offset: number): void {
    this.#feed({ character, offset });
  }

  boundary(): void {
    if (this.#mode === 'text' || this.#mode === 'start') this.#break();
  }

  end(): void {
    switch (this.#mode) {
      case 'start':
        this.#endStart();
        break;
      case 'ticks':
        this.#passHeld();
        break;
      case 'span':
        if (this.#spanCloses()) this.#passHeld();
        else this.#openBlock(this.#held);
        break;
      case 'info':
        this.#openBlock(this.#held);
        break;
      case 'pipe':
      case 'rule':
        this.#endTable();
        break;
      default:
        break;
    }
    this.#passRaw('', true);
    this.#sink.end();
  }

  #endStart(): void {
    const kind = this.#start.end();
    if (kind === 'fence') this.#openBlock(this.#start.held);
    else if (kind === 'text') this.#beginText();
    else if (this.#number.length > 0) this.#beginText();
  }

  #endTable(): void {
    if (this.#mode === 'rule' && this.#isRule()) {
      this.#openBlock([...this.#held, ...this.#ruleHeld]);
      return;
    }
    const rule = this.#ruleHeld;
    this.#releaseHead();
    if (rule.length === 0) return;
    this.#feedAll(rule);
    if (this.#mode === 'start') this.#endStart();
    else if (this.#mode === 'pipe') this.#releaseHead();
  }

  #feed(unit: Unit): void {
    if (this.#sink.muted) {
      this.#sink.character(unit.character, unit.offset);
      return;
    }
    switch (this.#mode) {
      case 'start':
        return this.#startLine(unit);
      case 'text':
        return this.#text(unit);
      case 'ticks':
        return this.#ticks(unit);
      case 'span':
        return this.#span(unit);
      case 'info':
        return this.#readInfo(unit);
      case 'fence':
        return this.#readFence(unit);
      case 'raw':
        return this.#readRaw(unit);
      case 'pipe':
        return this.#readHead(unit);
      default:
        return this.#readRule(unit);
    }
  }

  #feedAll(units: readonly Unit[]): void {
    for (const unit of units) this.#feed(unit);
  }

  #startLine(unit: Unit): void {
    const start = this.#start;
    switch (start.add(unit)) {
      case 'undecided':
        return;
      case 'blank':
        return this.#blankLine();
      case 'text':
        return this.#beginText();
      case 'heading':
        this.#break();
        this.#heading = true;
        return this.#beginText();
      case 'item':
      case 'number':
        return this.#beginItem(start);
      case 'rule':
        this.#break();
        return this.#nextLine();
      case 'fence':
        this.#held = start.held.slice(0, -1);
        this.#info = 0;
        this.#mode = 'info';
        return this.#readInfo(unit);
      case 'code':
        return this.#beginCode(start);
      default:
        return this.#beginPipe(start);
    }
  }

  #blankLine(): void {
    if (this.#codeBlanks !== undefined) {
      this.#codeBlanks += this.#start.held.map(({ character }) => character).join('');
    }
    const blanks = this.#codeBlanks;
    if (this.#number.length > 0) this.#beginText();
    this.#break();
    this.#nextLine();
    this.#afterBlank = true;
    this.#inTable = false;
    this.#codeBlanks = blanks;
  }

  /** Begins a new line; what the line before was decides what it may be. */
  #nextLine(): void {
    this.#mode = 'start';
    this.#heading = false;
    this.#number = [];
    this.#spanRun = 0;
    const indentedCode = (this.#afterBlank || this.#codeBlanks !== undefined) && !this.#inList;
    this.#start = new LineStart({ indentedCode, afterMarker: false });
  }

  #break(): void {
    this.#lineEnd = undefined;
    this.#sink.boundary();
  }

  #beginText(): void {
    const { held, contentStart, indent, quoted } = this.#start;
    if (this.#afterBlank && indent < 2 && !quoted && this.#number.length === 0) {
      this.#inList &&= this.#start.context.afterMarker;
    }
    if (this.#lineEnd) this.#sink.character('\n', this.#lineEnd.offset);
    this.#forward(this.#number);
    this.#leaveStart();
    this.#mode = 'text';
    this.#feedAll(held.slice(contentStart));
  }

  #leaveStart(): void {
    this.#lineEnd = undefined;
    this.#number = [];
    this.#afterBlank = false;
    this.#inTable = false;
    this.#codeBlanks = undefined;
  }

  #beginItem({ held, contentStart }: LineStart): void {
    const numbered = /\d/.test(held[contentStart]?.character ?? '');
    const rest = numbered ? [] : held.slice(contentStart);
    const number = numbered ? held.slice(contentStart) : [];
    if (this.#number.length === 0) this.#break();
    const numbers = [...this.#number, ...number];
    this.#leaveStart();
    this.#number = numbers;
    this.#inList = true;
    this.#start = new LineStart({ indentedCode: false, afterMarker: true });
    this.#feedAll(rest);
  }

  #beginCode({ held }: LineStart): void {
    this.#break();
    if (this.#codeBlanks) this.#unspoken(this.#codeBlanks);
    this.#leaveStart();
    this.#codeBlanks = '';
    this.#beginRaw(held);
  }

  #beginRaw(units: readonly Unit[]): void {
    this.#mode = 'raw';
    for (const unit of units) this.#readRaw(unit);
  }

  #readRaw({ character }: Unit): void {
    this.#passRaw(character);
    if (character === '\n') this.#nextLine();
  }

  /** Text that is shown and not said: by lines. */
  #passRaw(raw: string, last = false): void {
    this.#raw += raw;
    if (this.#raw === '' || !(last || raw.endsWith('\n') || this.#raw.length >= MOST_RAW)) return;
    const whole = this.#raw;
    this.#raw = '';
    this.#unspoken(whole);
  }

  #openBlock(units: readonly Unit[]): void {
    this.#break();
    for (const { character } of units) this.#passRaw(character);
  }

  #text(unit: Unit): void {
    if (unit.character === '`') {
      this.#mode = 'ticks';
      this.#held = [unit];
    } else if (unit.character === '\n') this.#endLine(unit);
    else this.#sink.character(unit.character, unit.offset);
  }

  #endLine(unit: Unit): void {
    if (this.#heading) this.#break();
    else this.#lineEnd = unit;
    this.#nextLine();
  }

  #ticks(unit: Unit): void {
    if (unit.character === '`') {
      this.#held.push(unit);
      return;
    }
    const run = this.#held.length;
    if (run >= FENCE_LENGTH && run !== this.#spanRun) {
      this.#mode = 'span';
      this.#openRun = run;
      this.#run = 0;
      this.#span(unit);
      return;
    }
    if (this.#spanRun === 0) this.#spanRun = run;
    else if (this.#spanRun === run) this.#spanRun = 0;
    this.#passHeld();
    this.#text(unit);
  }

  #span(unit: Unit): void {
    if (unit.character === '`') {
      this.#run += 1;
      this.#held.push(unit);
      return;
    }
    if (this.#spanCloses()) {
      if (this.#run === this.#spanRun) this.#spanRun = 0;
      this.#passHeld();
      this.#text(unit);
      return;
    }
    this.#run = 0;
    this.#held.push(unit);
    if (unit.character === '\n') {
      this.#openFence('`', this.#openRun);
      return;
    }
    if (this.#held.length < MOST_SPAN) return;
    this.#spanRun = this.#openRun;
    this.#passHeld();
  }

  #spanCloses(): boolean {
    return this.#run > 0 && (this.#run === this.#openRun || this.#run === this.#spanRun);
  }

  /** What was held is text. */
  #passHeld(): void {
    this.#mode = 'text';
    this.#forward(this.#held);
    this.#held = [];
  }

  #forward(units: readonly Unit[]): void {
    for (const { character, offset } of units) this.#sink.character(character, offset);
  }

  #readInfo(unit: Unit): void {
    const { run, held, contentStart } = this.#start;
    const mark = held[contentStart]?.character ?? '';
    if (unit.character === '`' && mark === '`') {
      const units = this.#held.slice(contentStart);
      this.#start.held.length = contentStart;
      this.#beginText();
      this.#spanRun = run;
      this.#forward(units);
      this.#text(unit);
      return;
    }
    this.#held.push(unit);
    this.#info += 1;
    if (unit.character === '\n' || this.#info > MOST_INFO) this.#openFence(mark, run);
  }

  #openFence(mark: string, run: number): void {
    const units = this.#held;
    this.#held = [];
    this.#fence = new CodeFence(mark, run);
    this.#leaveStart();
    this.#openBlock(units);
    this.#mode = 'fence';
    // The opening line itself closes nothing.
    if (units.at(-1)?.character !== '\n') this.#fence.add('.');
  }

  #readFence({ character }: Unit): void {
    this.#passRaw(character);
    if (!this.#fence?.add(character)) return;
    this.#fence = undefined;
    this.#nextLine();
  }

  #beginPipe({ held }: LineStart): void {
    if (this.#inTable) {
      this.#beginRaw(held);
      return;
    }
    this.#held = held;
    this.#ruleHeld = [];
    this.#mode = 'pipe';
  }

  #readHead(unit: Unit): void {
    this.#held.push(unit);
    if (unit.character === '\n') this.#mode = 'rule';
    else if (this.#held.length > MOST_TABLE_LINE) this.#releaseHead();
  }

  #readRule(unit: Unit): void {
    this.#ruleHeld.push(unit);
    if (unit.character === '\n' && this.#isRule()) {
      const units = [...this.#held, ...this.#ruleHeld];
      this.#leaveStart();
      this.#openBlock(units);
      this.#inTable = true;
      this.#nextLine();
      return;
    }
    const { character } = unit;
    const goesOn = character !== '\n' && (/[|:>-]/.test(character) || isBlank(character));
    if (goesOn && this.#ruleHeld.length < MOST_TABLE_LINE) return;
    const rule = this.#ruleHeld;
    this.#releaseHead();
    this.#feedAll(rule);
  }

  /** Whether the second line is the one that makes a table: dashes and pipes. */
  #isRule(): boolean {
    const characters = new Set(this.#ruleHeld.map(({ character }) => character));
    return characters.has('-') && characters.has('|');
  }

  /** It was no table. */
  #releaseHead(): void {
    this.#ruleHeld = [];
    this.#start.held = this.#held;
    this.#held = [];
    this.#beginText();
  }
}
