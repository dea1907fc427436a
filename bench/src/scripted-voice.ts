import type { IncomingMessage, ServerResponse } from 'node:http';
import { json } from 'node:stream/consumers';
import { monotonicMs } from './clock.ts';
import { contentFrame } from './token-script.ts';
import {
  SPEECH_TAKES_MS,
  phraseSound,
  spokenMarker,
  voicePhrases,
  voiceTokens,
} from './voice-script.ts';

/** 100 ms of sound. */
const PIECE_BYTES = 4800;

/** Where the upstream tells what it saw of each answer. */
export const VOICE_MARKS_PATH = '/bench/voice-marks';

/** What the upstream saw of one answer; times of CLOCK_MONOTONIC in milliseconds. */
export interface VoiceMarks {
  /** The token was written that lets the first phrase be cut. */
  boundaryMs: number;
  /** The request for that phrase's speech came. */
  askedMs: number;
  /** The first samples of it were written. */
  wroteMs: number;
}

/** The upstream's voices: an answer with a marker, speech of its phrases, and what it saw of each. */
export class ScriptedVoices {
  #marks: Record<string, Partial<VoiceMarks>> = {};

  /** The frames of an answer, one token each; the one of the boundary is stamped when it is made. */
  frames(marker: string): { count: number; frame: (index: number) => string } {
    const tokens = voiceTokens(marker);
    const { boundary } = voicePhrases(marker);
    const frame = (index: number): string => {
      if (index === boundary) this.#note(marker, { boundaryMs: monotonicMs() });
      return contentFrame(tokens[index] ?? '');
    };
    return { count: tokens.length, frame };
  }

  /** `POST /v1/audio/speech`: `SPEECH_TAKES_MS`, then all sound in pieces, as fast as it is taken. */
  async speak(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const askedMs = monotonicMs();
    const { input } = (await json(request)) as { input: string };
    const sound = phraseSound(input);
    const marker = spokenMarker(input);
    if (marker !== undefined) this.#note(marker, { askedMs });
    setTimeout(
      () => {
        if (marker !== undefined) this.#note(marker, { wroteMs: monotonicMs() });
        response.writeHead(200, { 'content-type': 'audio/pcm' });
        writePieces(response, sound);
      },
      // Node cuts fractions off: without rounding up it would take 119.2 ms.
      Math.ceil(SPEECH_TAKES_MS - (monotonicMs() - askedMs)),
    );
  }

  /** All marks since the last call. */
  takeMarks(): Record<string, Partial<VoiceMarks>> {
    const marks = this.#marks;
    this.#marks = {};
    return marks;
  }

  #note(marker: string, marks: Partial<VoiceMarks>): void {
    this.#marks[marker] = { ...this.#marks[marker], ...marks };
  }
}

function writePieces(response: ServerResponse, sound: Uint8Array): void {
  let start = 0;
  const writeOne = (): void => {
    if (response.destroyed) return;
    const piece = sound.subarray(start, start + PIECE_BYTES);
    start += PIECE_BYTES;
    if (start >= sound.length) response.end(piece);
    else if (response.write(piece)) setImmediate(writeOne);
    else response.once('drain', writeOne);
  };
  writeOne();
}
