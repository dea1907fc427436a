/** One Unicode character and where it stood in what was pushed, in UTF-16 code units. */
export interface Unit {
  character: string;
  offset: number;
}

/** What every stage of the splitter is to the stage before it. */
export interface TextSink {
  character(character: string, offset: number): void;
  /** A hard boundary: nothing before it may be joined with what follows, and nothing is held back. */
  boundary(): void;
  end(): void;
}
