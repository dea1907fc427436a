/** What the scripted upstream shall send. It travels as the text of the user's message, since a gateway may drop fields it does not know. */
export interface TokenScript {
  tokens: number;
  /** 0: flood, as fast as the socket takes it. */
  tokensPerSecond: number;
}

const PROMPT = /bench tokens=(\d+) tokensPerSecond=(\d+)/;

const CHUNK_HEAD =
  'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1767225600,"model":"bench","service_tier":"default","system_fingerprint":"fp_bench","choices":[{"index":0,"delta":';
const CHUNK_TAIL = ',"logprobs":null,"finish_reason":null}]}\n\n';

export const ROLE_FRAME = `${CHUNK_HEAD}{"role":"assistant","content":""}${CHUNK_TAIL}`;
export const FINISH_FRAMES = `${CHUNK_HEAD}{},"logprobs":null,"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n`;

/** The JSON body of a chat request that asks the upstream for this script. */
export function chatRequestBody(script: TokenScript): string {
  const content = `bench tokens=${script.tokens} tokensPerSecond=${script.tokensPerSecond}`;
  return JSON.stringify({ model: 'bench', stream: true, messages: [{ role: 'user', content }] });
}

/** Finds the script in a request body; undefined if it holds none. */
export function scriptOf(requestBody: string): TokenScript | undefined {
  const match = PROMPT.exec(requestBody);
  if (!match) return undefined;
  return { tokens: Number(match[1]), tokensPerSecond: Number(match[2]) };
}

/** One token as an SSE frame: its index and, in microseconds, when it was sent. */
export function tokenFrame(index: number, sentMs: number): string {
  return contentFrame(`${index}@${Math.round(sentMs * 1e3)} `);
}

/** A piece of text as an SSE frame; without anything that JSON escapes. */
export function contentFrame(content: string): string {
  return `${CHUNK_HEAD}{"content":"${content}"}${CHUNK_TAIL}`;
}
