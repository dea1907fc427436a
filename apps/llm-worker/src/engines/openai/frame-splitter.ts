import { VoiceError } from '@antiphon/shared/errors/voice-error';

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const SPACE = 0x20;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

const FIELD = Buffer.from('data:');
const FRAME_START = Buffer.from('data: ');
const FRAME_END = Buffer.from('\n\n');
const JOINT = Buffer.from(' ');
const DONE = Buffer.from('[DONE]');
const NOTHING = Buffer.alloc(0);

/**
 * Cuts an SSE body into frames of exactly `data: {…}\n\n`, wherever the socket cut it. Comments,
 * other fields and `[DONE]` are left out; CRLF becomes LF.
 *
 * A run of frames that are clean already is passed on as the very bytes of the read: no copy, no
 * string. Everything else goes line by line; only new bytes are searched, so that a long line costs
 * no more per byte than a short one.
 */
export class FrameSplitter {
  readonly #maxLineBytes: number;
  /** Pieces of a line whose end was not read yet. */
  #line: Buffer[] = [];
  #lineBytes = 0;
  /** `data` lines of a frame whose blank line was not read yet. */
  #data: Buffer[] = [];
  #dataBytes = 0;
  /** `[DONE]` was read: the answer is over, whatever the connection does. */
  done = false;
  /** What makes the body no answer; the frames before it are good. Nothing is read any more. */
  failure: VoiceError | undefined;

  constructor(maxLineBytes: number) {
    this.#maxLineBytes = maxLineBytes;
  }

  /** All frames that are whole now, one after the other; may be empty. */
  push(read: Buffer): Buffer {
    const whole: Buffer[] = [];
    let at = 0;
    while (at < read.byteLength && !this.done && !this.failure) {
      const cleanEnd = this.#betweenFrames() ? endOfCleanFrames(read, at) : at;
      if (cleanEnd > at) {
        whole.push(read.subarray(at, cleanEnd));
        at = cleanEnd;
        continue;
      }
      const lineEnd = read.indexOf(LINE_FEED, at);
      if (lineEnd === -1) {
        this.#holdLine(read.subarray(at));
        break;
      }
      this.#takeLine(this.#wholeLine(read.subarray(at, lineEnd)), whole);
      at = lineEnd + 1;
    }
    const [first = NOTHING] = whole;
    return whole.length > 1 ? Buffer.concat(whole) : first;
  }

  #betweenFrames(): boolean {
    return this.#lineBytes === 0 && this.#data.length === 0;
  }

  #holdLine(piece: Buffer): void {
    this.#line.push(piece);
    this.#lineBytes += piece.byteLength;
    this.#checkSize(this.#lineBytes);
  }

  #wholeLine(rest: Buffer): Buffer {
    if (this.#line.length === 0) return rest;
    const line = Buffer.concat([...this.#line, rest]);
    this.#line = [];
    this.#lineBytes = 0;
    return line;
  }

  #takeLine(rawLine: Buffer, whole: Buffer[]): void {
    const endsInReturn = rawLine.at(-1) === CARRIAGE_RETURN;
    const line = endsInReturn ? rawLine.subarray(0, -1) : rawLine;
    if (line.byteLength === 0) {
      this.#endFrame(whole);
    } else if (startsWith(line, FIELD)) {
      const start = line[FIELD.byteLength] === SPACE ? FRAME_START.byteLength : FIELD.byteLength;
      this.#data.push(line.subarray(start));
      this.#dataBytes += line.byteLength;
      this.#checkSize(this.#dataBytes);
    }
  }

  #endFrame(whole: Buffer[]): void {
    const [first, ...others] = this.#data;
    this.#data = [];
    this.#dataBytes = 0;
    if (first === undefined) return;
    // Several data lines are one value; a line break inside JSON is as good as a blank.
    const json = others.flatMap((line) => [JOINT, line]);
    const value = Buffer.concat([first, ...json]);
    if (value.subarray(0, DONE.byteLength).equals(DONE)) {
      this.done = true;
      return;
    }
    const trimmed = value.at(-1) === SPACE ? Buffer.from(value.toString().trim()) : value;
    if (trimmed[0] !== OPEN_BRACE || trimmed.at(-1) !== CLOSE_BRACE) {
      this.failure = new VoiceError('upstream_protocol');
      return;
    }
    whole.push(FRAME_START, trimmed, FRAME_END);
  }

  #checkSize(byteCount: number): void {
    if (byteCount <= this.#maxLineBytes) return;
    this.failure = new VoiceError('upstream_protocol', {
      message: `The upstream server of this engine sent a line of more than ${this.#maxLineBytes} bytes.`,
    });
  }
}

/** Where the run of clean frames that begins at `start` ends; `start` when there is none. */
function endOfCleanFrames(read: Buffer, start: number): number {
  let at = start;
  while (read[at + FRAME_START.byteLength] === OPEN_BRACE && startsWith(read, FRAME_START, at)) {
    const lineEnd = read.indexOf(LINE_FEED, at);
    if (lineEnd === -1 || read[lineEnd + 1] !== LINE_FEED || read[lineEnd - 1] !== CLOSE_BRACE)
      break;
    at = lineEnd + 2;
  }
  return at;
}

function startsWith(bytes: Uint8Array, prefix: Uint8Array, at = 0): boolean {
  for (let offset = 0; offset < prefix.byteLength; offset += 1) {
    if (bytes[at + offset] !== prefix[offset]) return false;
  }
  return true;
}
