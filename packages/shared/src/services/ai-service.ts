/** A chat request as an engine sees it. */
export interface ChatRequest {
  /**
   * The client's JSON body, with `model` resolved. A string, so that an engine that only forwards
   * it neither parses nor changes it (64-bit seeds and key order survive).
   */
  requestJson: string;
  /** Whether the client asked for SSE chunks (true) or for one JSON answer (false). */
  stream: boolean;
  /** `n` of the request: each choice must end with a finish reason. */
  choiceCount: number;
}

export interface TokenUsage {
  promptTokens: number;
  completionTokens: number;
  totalTokens: number;
}

export type FinishReason = 'stop' | 'length' | 'tool_calls' | 'content_filter' | 'function_call';

/**
 * What an engine yields. An engine that makes its own text yields `text-delta`s; one that speaks
 * OpenAI's protocol yields ready bytes, which are passed on untouched. Either way the last event
 * is `finish`: an answer without it is an error, never a short success.
 */
export type ChatEvent =
  /** Text of choice 0. The handler writes the chunk or, when `stream` is false, the answer. */
  | { type: 'text-delta'; text: string }
  /** Whole SSE frames, `data: {chat.completion.chunk}\n\n` each; only when `stream` is true. */
  | { type: 'chunk-frames'; frames: Uint8Array }
  /** A piece of the whole JSON answer, in order; only when `stream` is false. */
  | { type: 'completion-bytes'; bytes: Uint8Array }
  | { type: 'finish'; finishReason: FinishReason; usage?: TokenUsage };

/** What models an engine offers; asked once at start and again every minute. */
export interface ModelList {
  models: string[];
}

/** Runs a chat model. */
export interface AIService {
  /** Names clients may ask for, aliases included. The first is the engine's default. */
  listModels(signal: AbortSignal): Promise<ModelList>;
  /**
   * Answers. Ends by `finish`, or throws a VoiceError (`upstream_*`, `engine_failed`).
   * When `signal` aborts, stops all work, closes its sockets and throws `signal.reason`.
   */
  streamChat(request: ChatRequest, signal: AbortSignal): AsyncIterable<ChatEvent>;
  /** Frees what the engine holds. */
  close(): Promise<void>;
}
