import type { RecordedRequest } from './recorded-request.ts';

/** What goes wrong with an answer. `afterTokens` counts tokens of chat and chunks of audio; 0 unless told. */
export type Fault =
  /** An answer of this status; an object is sent as JSON. Also for odd answers with status 200. */
  | { type: 'status'; status: number; body?: unknown; headers?: Record<string, string> }
  /** The request is read and never answered. */
  | { type: 'no-headers' }
  /** Headers and some tokens, then nothing more on an open socket. */
  | { type: 'silence'; afterTokens?: number }
  /** The connection ends in the middle of the body: by reset, or by FIN before the last chunk. */
  | { type: 'cut'; by: 'rst' | 'fin'; afterTokens?: number }
  /** The body ends properly, too early: no finish reason, no `[DONE]`. */
  | { type: 'early-end'; afterTokens?: number }
  /** Everything is there except the finish reasons. */
  | { type: 'no-finish-reason' }
  /** An error in the stream, as OpenAI sends it once the status is gone. */
  | { type: 'error-frame'; afterTokens?: number; error?: unknown }
  /** Status 200 with a proxy's HTML page. */
  | { type: 'html' }
  /** The right content type, and no JSON in it. */
  | { type: 'garbage' }
  /** One line of this many bytes without an end. */
  | { type: 'long-line'; bytes: number };

/** How an SSE body is written; everything here is legal SSE. */
export interface SseStyle {
  comments?: boolean;
  eventLines?: boolean;
  idLines?: boolean;
  crlf?: boolean;
  /** `data:{…}` without the blank. */
  tight?: boolean;
  /** Leave out `[DONE]`. */
  withoutDone?: boolean;
  /** Keep the connection open after the last frame. */
  holdOpen?: boolean;
}

export interface ScriptedToolCall {
  id: string;
  name: string;
  /** Sent in two fragments. */
  arguments: string;
}

/** One phrase of a spoken answer: its words, and what is written behind it and not said (code). */
export interface ScriptedPhrase {
  transcript: string;
  content?: string;
}

export interface ScriptedTranscript {
  text: string;
  /** English name, as verbose_json has it. */
  language: string;
  durationSeconds: number;
  words: { word: string; start: number; end: number }[];
  segments: { text: string; start: number; end: number }[];
}

/** How a request is answered. */
export interface Script {
  /** Requests this is for; all unless told. The path is without `/v1`: `/chat/completions`. */
  path?: string;
  when?: (request: RecordedRequest) => boolean;
  /** How many requests it answers before the script under it is used again. */
  times?: number;
  fault?: Fault;
  /** Tokens of a chat answer; a number gives `t0 t1 …`. */
  tokens?: number | readonly string[];
  /** Instead of tokens: an answer of this many bytes of text in tokens of 16 KiB. */
  answerBytes?: number;
  /** Wait before each token of chat and chunk of audio; 0 is a flood. */
  tokenDelayMs?: number;
  /** Sent with every answer, over the server's own. */
  headers?: Record<string, string>;
  /** Wait before the headers. */
  headerDelayMs?: number;
  /** `asked`: only when the client asked for usage; `always`: some servers send it unasked. */
  usage?: 'asked' | 'always' | 'never';
  toolCalls?: readonly ScriptedToolCall[];
  /** A streamed answer to a request for `modalities` audio, instead of tokens; its sound is `spokenPcm`. */
  phrases?: readonly ScriptedPhrase[];
  finishReason?: string;
  sse?: SseStyle;
  /** Bodies are written in pieces of this many bytes, each in a packet of its own as far as TCP allows. */
  pieceBytes?: number;
  /** Seconds of a speech answer; by the length of the text unless told. */
  audioSeconds?: number;
  /** What speech is sent as instead of what was asked: servers that know only WAV. */
  speechFormat?: 'pcm' | 'wav';
  /** Content-Type of a speech answer, when it is another than its format's. */
  speechContentType?: string;
  transcript?: ScriptedTranscript;
}

/** A script with every default filled in. */
export type FullScript = Required<
  Pick<Script, 'tokens' | 'tokenDelayMs' | 'headerDelayMs' | 'usage' | 'sse' | 'transcript'>
> &
  Script;

const WORDS = ['Hello', 'from', 'the', 'scripted', 'server.'];

/** Five words, 0.4 s each. */
export const DEFAULT_TRANSCRIPT: ScriptedTranscript = {
  text: WORDS.join(' '),
  language: 'english',
  durationSeconds: 2,
  words: WORDS.map((word, at) => ({ word, start: at * 0.4, end: at * 0.4 + 0.4 })),
  segments: [{ text: WORDS.join(' '), start: 0, end: 2 }],
};

export const DEFAULT_SCRIPT: FullScript = {
  tokens: 20,
  tokenDelayMs: 0,
  headerDelayMs: 0,
  usage: 'asked',
  sse: {},
  transcript: DEFAULT_TRANSCRIPT,
};
