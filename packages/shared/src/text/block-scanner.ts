import { BacktickRuns } from './backtick-runs.ts';
import { FenceStart } from './fence-start.ts';
import { LineStart } from './line-start.ts';
import { ProseLines } from './prose-lines.ts';
import { RawBlock } from './raw-block.ts';
import { TableStart } from './table-start.ts';
import type { TextSink, Unit } from './text-sink.ts';

/**
 * `start`: the beginning of a line; `ticks`: a run of backticks in it, and what that may have opened;
 * `info`: behind an opening fence, in its line; `raw`: in code, or in a row of a table.
 */
type Mode = 'start' | 'text' | 'ticks' | 'info' | 'raw' | 'table';

/**
 * The first stage: Markdown blocks. Prose goes on character by character once the beginning of its
 * line tells that it is prose; fenced code, indented code and tables never do. A fence that is not
 * closed lasts to the end.
 */
export class BlockScanner implements TextSink {
  readonly #prose: ProseLines;
  readonly #raw: RawBlock;
  readonly #ticks = new BacktickRuns();
  #mode: Mode = 'start';
  #start = new LineStart({ indentedCode: false, afterMarker: false, afterNumber: false });
  #table = new TableStart([]);
  #fence = new FenceStart([], 0, 0);
  #heading = false;
  #inList = false;
  #afterBlank = false;

  constructor(sink: TextSink & { readonly muted: boolean }, onUnspoken: (raw: string) => void) {
    this.#prose = new ProseLines(sink);
    this.#raw = new RawBlock(onUnspoken);
  }

  character(character: string, offset: number): void {
    this.#feed({ character, offset });
  }

  boundary(): void {
    this.#prose.break();
  }

  end(): void {
    while (this.#mode === 'table') this.#endTable();
    if (this.#mode === 'start') this.#endStart();
    if (this.#mode === 'ticks') {
      if (this.#ticks.end() === 'text') this.#passTicks();
      else this.#show(this.#ticks.held);
    }
    if (this.#mode === 'info') this.#show(this.#fence.held);
    this.#raw.end();
    this.#prose.end();
  }

  #endStart(): void {
    const kind = this.#start.end();
    if (kind === 'fence') this.#show(this.#start.held);
    else if (kind === 'text' || this.#prose.hasNumber) this.#beginText();
  }

  #endTable(): void {
    if (!this.#table.isTable()) return this.#releaseTable();
    this.#mode = 'raw';
    this.#show(this.#table.units);
  }

  #feed(unit: Unit): void {
    if (this.#prose.muted) this.#prose.pass(unit);
    else if (this.#mode === 'text') this.#text(unit);
    else if (this.#mode === 'start') this.#startLine(unit);
    else if (this.#mode === 'ticks') this.#readTicks(unit);
    else if (this.#mode === 'info') this.#readInfo(unit);
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
      this.#prose.break();
      this.#heading = true;
      this.#beginText();
    } else if (kind === 'item' || kind === 'number') this.#beginItem(start, kind);
    else if (kind === 'rule') {
      this.#prose.break();
      this.#leaveStart();
      this.#nextLine();
    } else if (kind === 'fence') {
      this.#fence = new FenceStart(start.held.slice(0, -1), start.contentStart, start.run);
      this.#mode = 'info';
      this.#readInfo(unit);
    } else if (kind === 'code') this.#beginCode(start);
    else this.#beginPipe(start);
  }

  #blankLine(): void {
    const { held } = this.#start;
    if (this.#prose.hasNumber) this.#beginText();
    this.#prose.break();
    this.#raw.addBlankLine(held.map(({ character }) => character).join(''));
    this.#leaveLine();
    this.#afterBlank = true;
    this.#nextLine();
  }

  /** Begins a new line; what the lines before were decides what it may be. */
  #nextLine(): void {
    this.#mode = 'start';
    this.#heading = false;
    this.#ticks.reset();
    const indentedCode = (this.#afterBlank || this.#raw.isCode) && !this.#inList;
    this.#start = new LineStart({ indentedCode, afterMarker: false, afterNumber: false });
  }

  #beginText(): void {
    const { held, contentStart, indent, quoted, context } = this.#start;
    if (this.#afterBlank && indent < 2 && !quoted) this.#inList &&= context.afterMarker;
    this.#prose.join();
    this.#leaveStart();
    this.#mode = 'text';
    this.#feedAll(held.slice(contentStart));
  }

  #leaveStart(): void {
    this.#raw.leave();
    this.#leaveLine();
  }

  #leaveLine(): void {
    this.#prose.forget();
    this.#afterBlank = false;
  }

  #beginItem({ held, contentStart }: LineStart, kind: 'item' | 'number'): void {
    const content = held.slice(contentStart);
    const number = kind === 'number' ? content : this.#prose.number;
    if (!this.#prose.hasNumber) this.#prose.break();
    this.#leaveStart();
    this.#prose.number = number;
    this.#inList = true;
    const afterNumber = this.#prose.hasNumber;
    this.#start = new LineStart({ indentedCode: false, afterMarker: true, afterNumber });
    if (kind === 'item') this.#feedAll(content);
  }

  #beginCode({ held }: LineStart): void {
    this.#prose.break();
    this.#raw.beginCode();
    this.#leaveLine();
    this.#beginRaw(held);
  }

  #beginRaw(units: readonly Unit[]): void {
    this.#mode = 'raw';
    for (const unit of units) this.#readRaw(unit);
  }

  #readRaw({ character }: Unit): void {
    if (this.#raw.add(character)) this.#nextLine();
  }

  /** A block that is not said begins: what is before it is said now. */
  #show(units: readonly Unit[]): void {
    this.#prose.break();
    this.#raw.show(units);
  }

  #text(unit: Unit): void {
    if (unit.character === '`') {
      this.#mode = 'ticks';
      this.#readTicks(unit);
    } else if (unit.character === '\n') {
      if (this.#heading) this.#prose.break();
      else this.#prose.endLine(unit);
      this.#nextLine();
    } else this.#prose.pass(unit);
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
    this.#prose.passAll(this.#ticks.held);
    this.#ticks.held = [];
  }

  #readInfo(unit: Unit): void {
    const { held, contentStart, mark, run } = this.#fence;
    const verdict = this.#fence.add(unit);
    if (verdict === 'fence') this.#openFence(held, mark, run);
    if (verdict !== 'text') return;
    this.#start.held = held;
    this.#start.contentStart = held.length;
    this.#beginText();
    this.#ticks.reset(run);
    this.#prose.passAll(held.slice(contentStart));
    this.#text(unit);
  }

  #openFence(opening: readonly Unit[], mark: string, run: number): void {
    this.#leaveStart();
    this.#prose.break();
    this.#mode = 'raw';
    this.#raw.openFence(opening, mark, run);
  }

  #beginPipe({ held }: LineStart): void {
    if (this.#raw.isTable) return this.#beginRaw(held);
    this.#table = new TableStart(held);
    this.#mode = 'table';
  }

  #readTable(unit: Unit): void {
    const verdict = this.#table.add(unit);
    if (verdict === 'text') this.#releaseTable();
    if (verdict !== 'table') return;
    this.#leaveStart();
    this.#show(this.#table.units);
    this.#raw.beginTable();
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
