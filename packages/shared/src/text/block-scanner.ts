import { BacktickRuns } from './backtick-runs.ts';
import { CodeFence } from './code-fence.ts';
import { LineStart } from './line-start.ts';
import { TableStart } from './table-start.ts';
import type { TextSink, Unit } from './text-sink.ts';
import { UnspokenText } from './unspoken-text.ts';

/** A fence's language and title; what is longer is a fence all the same. */
const MOST_INFO_CHARACTERS = 200;

type Mode =
  /** The beginning of a line. */
  | 'start'
  | 'text'
  /** A run of backticks in a line, and what it may have opened. */
  | 'ticks'
  /** Behind an opening fence, in its line. */
  | 'info'
  | 'fence'
  /** A line of indented code, or a table's row. */
  | 'raw'
  | 'table';

/**
 * The first stage: Markdown blocks. Prose goes on character by character once the beginning of its
 * line tells that it is prose; fenced code, indented code and tables never do. A fence that is not
 * closed lasts to the end.
 */
export class BlockScanner implements TextSink {
  readonly #sink: TextSink & { readonly muted: boolean };
  readonly #unspoken: UnspokenText;
  readonly #ticks = new BacktickRuns();
  #mode: Mode = 'start';
  #start = new LineStart({ indentedCode: false, afterMarker: false, afterNumber: false });
  #table = new TableStart([]);
  #fence: CodeFence | undefined;
  /** The line of an opening fence. */
  #info: Unit[] = [];
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
    this.#unspoken = new UnspokenText(onUnspoken);
  }

  character(character: string, offset: number): void {
    this.#feed({ character, offset });
  }

  boundary(): void {
    this.#break();
  }

  end(): void {
    if (this.#mode === 'table') this.#endTable();
    if (this.#mode === 'start') this.#endStart();
    if (this.#mode === 'ticks') {
      if (this.#ticks.end() === 'text') this.#passTicks();
      else this.#show(this.#ticks.held);
    }
    if (this.#mode === 'info') this.#show(this.#info);
    this.#unspoken.end();
    this.#sink.end();
  }

  #endStart(): void {
    const kind = this.#start.end();
    if (kind === 'fence') this.#show(this.#start.held);
    else if (kind === 'text' || this.#number.length > 0) this.#beginText();
  }

  #endTable(): void {
    const { head, rule } = this.#table;
    if (this.#table.isTable()) {
      this.#mode = 'raw';
      this.#show([...head, ...rule]);
      return;
    }
    this.#releaseTable();
    if (this.#mode === 'table') this.#endTable();
  }

  #feed(unit: Unit): void {
    if (this.#sink.muted) this.#sink.character(unit.character, unit.offset);
    else if (this.#mode === 'text') this.#text(unit);
    else if (this.#mode === 'start') this.#startLine(unit);
    else if (this.#mode === 'ticks') this.#readTicks(unit);
    else if (this.#mode === 'info') this.#readInfo(unit);
    else if (this.#mode === 'fence') this.#readFence(unit);
    else if (this.#mode === 'raw') this.#readRaw(unit);
    else this.#readTable(unit);
  }

  #feedAll(units: readonly Unit[]): void {
    for (const unit of units) this.#feed(unit);
  }

  #startLine(unit: Unit): void {
    const start = this.#start;
    const kind = start.add(unit);
    if (kind === 'undecided') return;
    if (kind === 'blank') this.#blankLine();
    else if (kind === 'text') this.#beginText();
    else if (kind === 'heading') {
      this.#break();
      this.#heading = true;
      this.#beginText();
    } else if (kind === 'item' || kind === 'number') this.#beginItem(start, kind);
    else if (kind === 'rule') {
      this.#break();
      this.#leaveStart();
      this.#nextLine();
    } else if (kind === 'fence') {
      this.#info = start.held.slice(0, -1);
      this.#mode = 'info';
      this.#readInfo(unit);
    } else if (kind === 'code') this.#beginCode(start);
    else this.#beginPipe(start);
  }

  #blankLine(): void {
    const raw = this.#start.held.map(({ character }) => character).join('');
    const codeBlanks = this.#codeBlanks === undefined ? undefined : this.#codeBlanks + raw;
    if (this.#number.length > 0) this.#beginText();
    this.#break();
    this.#leaveStart();
    this.#afterBlank = true;
    this.#codeBlanks = codeBlanks;
    this.#nextLine();
  }

  /** Begins a new line; what the lines before were decides what it may be. */
  #nextLine(): void {
    this.#mode = 'start';
    this.#heading = false;
    this.#ticks.reset();
    const indentedCode = (this.#afterBlank || this.#codeBlanks !== undefined) && !this.#inList;
    this.#start = new LineStart({ indentedCode, afterMarker: false, afterNumber: false });
  }

  #break(): void {
    this.#lineEnd = undefined;
    this.#sink.boundary();
  }

  #beginText(): void {
    const { held, contentStart, indent, quoted, context } = this.#start;
    if (this.#afterBlank && indent < 2 && !quoted) this.#inList &&= context.afterMarker;
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

  #beginItem({ held, contentStart }: LineStart, kind: 'item' | 'number'): void {
    const content = held.slice(contentStart);
    const number = kind === 'number' ? content : this.#number;
    if (this.#number.length === 0) this.#break();
    this.#leaveStart();
    this.#number = number;
    this.#inList = true;
    const afterNumber = number.length > 0;
    this.#start = new LineStart({ indentedCode: false, afterMarker: true, afterNumber });
    if (kind === 'item') this.#feedAll(content);
  }

  #beginCode({ held }: LineStart): void {
    this.#break();
    if (this.#codeBlanks) this.#unspoken.add(this.#codeBlanks);
    this.#leaveStart();
    this.#codeBlanks = '';
    this.#beginRaw(held);
  }

  #beginRaw(units: readonly Unit[]): void {
    this.#mode = 'raw';
    for (const unit of units) this.#readRaw(unit);
  }

  #readRaw({ character }: Unit): void {
    this.#unspoken.add(character);
    if (character === '\n') this.#nextLine();
  }

  /** A block that is not said begins: what is before it is said now. */
  #show(units: readonly Unit[]): void {
    this.#break();
    for (const { character } of units) this.#unspoken.add(character);
  }

  #text(unit: Unit): void {
    if (unit.character === '`') {
      this.#mode = 'ticks';
      this.#readTicks(unit);
    } else if (unit.character === '\n') {
      if (this.#heading) this.#break();
      else this.#lineEnd = unit;
      this.#nextLine();
    } else this.#sink.character(unit.character, unit.offset);
  }

  #readTicks(unit: Unit): void {
    const verdict = this.#ticks.add(unit);
    if (verdict === 'fence') this.#openFence(this.#ticks.held, '`', this.#ticks.openRun);
    if (verdict !== 'text') return;
    this.#ticks.held.pop();
    this.#passTicks();
    this.#text(unit);
  }

  /** What was held at backticks is text. */
  #passTicks(): void {
    this.#mode = 'text';
    this.#forward(this.#ticks.held);
    this.#ticks.held = [];
  }

  #forward(units: readonly Unit[]): void {
    for (const { character, offset } of units) this.#sink.character(character, offset);
  }

  #readInfo(unit: Unit): void {
    const { run, contentStart } = this.#start;
    const mark = this.#info[contentStart]?.character ?? '';
    if (unit.character === '`' && mark === '`') {
      // A backtick behind it: inline code at the beginning of a line.
      this.#start.held = this.#info;
      const content = this.#info.slice(contentStart);
      this.#start.contentStart = this.#info.length;
      this.#beginText();
      this.#ticks.reset(run);
      this.#forward(content);
      this.#text(unit);
      return;
    }
    this.#info.push(unit);
    const long = this.#info.length > contentStart + run + MOST_INFO_CHARACTERS;
    if (unit.character === '\n' || long) this.#openFence(this.#info, mark, run);
  }

  #openFence(units: readonly Unit[], mark: string, run: number): void {
    this.#leaveStart();
    this.#show(units);
    this.#mode = 'fence';
    this.#fence = new CodeFence(mark, run);
    // The rest of a long opening line closes nothing.
    if (units.at(-1)?.character !== '\n') this.#fence.add('.');
  }

  #readFence({ character }: Unit): void {
    this.#unspoken.add(character);
    if (this.#fence?.add(character)) this.#nextLine();
  }

  #beginPipe({ held }: LineStart): void {
    if (this.#inTable) {
      this.#beginRaw(held);
      return;
    }
    this.#table = new TableStart(held);
    this.#mode = 'table';
  }

  #readTable(unit: Unit): void {
    const verdict = this.#table.add(unit);
    if (verdict === 'text') this.#releaseTable();
    if (verdict !== 'table') return;
    this.#leaveStart();
    this.#show([...this.#table.head, ...this.#table.rule]);
    this.#inTable = true;
    this.#nextLine();
  }

  /** It was no table. */
  #releaseTable(): void {
    const { head, rule } = this.#table;
    this.#start.held = head;
    this.#beginText();
    this.#feedAll(rule);
  }
}
