import type { Reply } from './reply.ts';
import type { FullScript, ScriptedToolCall, SseStyle } from './script.ts';
import { spokenDeltas } from './spoken-chat.ts';

const FLOOD_TOKEN_BYTES = 16 * 1024;
const CREATED = 1_790_000_000;

interface ChatBody {
  model?: string;
  messages?: unknown[];
  stream?: boolean | null;
  modalities?: string[] | null;
  n?: number | null;
  stream_options?: { include_usage?: boolean } | null;
}

/** The tokens of an answer by its script. */
export function* scriptedTokens({ tokens, answerBytes }: FullScript): Generator<string> {
  if (answerBytes !== undefined) {
    for (let left = answerBytes; left > 0; left -= FLOOD_TOKEN_BYTES) {
      yield 'x'.repeat(Math.min(left, FLOOD_TOKEN_BYTES));
    }
  } else if (typeof tokens === 'number') {
    for (let at = 0; at < tokens; at += 1) yield `t${at} `;
  } else {
    yield* tokens;
  }
}

export async function answerChat(reply: Reply): Promise<void> {
  const body = (reply.request.body ?? {}) as ChatBody;
  if (typeof body.model !== 'string' || !Array.isArray(body.messages)) {
    const param = typeof body.model === 'string' ? 'messages' : 'model';
    await reply.json(400, {
      error: {
        message: `Missing required parameter: '${param}'.`,
        type: 'invalid_request_error',
        param,
        code: 'missing_required_parameter',
      },
    });
  } else if (body.stream === true) {
    await streamChat(reply, body);
  } else {
    await wholeChat(reply, body);
  }
}

async function streamChat(reply: Reply, body: ChatBody): Promise<void> {
  const { script } = reply;
  const choiceIndexes = [...Array(body.n ?? 1).keys()];
  const frame = (choice: object | undefined, usage?: object): Buffer =>
    Buffer.from(sseFrame(chunk(body.model ?? '', choice, usage), script.sse));
  await reply.head(200, { 'content-type': 'text/event-stream; charset=utf-8' });
  if (script.fault?.type === 'long-line') await longLine(reply, script.fault.bytes);
  for (const index of choiceIndexes) {
    const delta = { role: 'assistant', content: '', refusal: null };
    await reply.write(frame({ index, delta, logprobs: null, finish_reason: null }));
  }
  let count = 0;
  for (const delta of answerDeltas(script, body)) {
    for (const index of choiceIndexes) {
      await reply.token(frame({ index, delta, logprobs: null, finish_reason: null }));
    }
    count += 1;
  }
  for (const delta of toolCallDeltas(script.toolCalls ?? [])) {
    await reply.token(frame({ index: 0, delta, logprobs: null, finish_reason: null }));
  }
  await reply.tokensDone();
  if (script.fault?.type !== 'no-finish-reason') {
    for (const index of choiceIndexes) {
      const finish_reason = finishReason(script);
      await reply.write(frame({ index, delta: {}, logprobs: null, finish_reason }));
    }
  }
  const asked = body.stream_options?.include_usage === true;
  if (usageWanted(script, asked)) await reply.write(frame(undefined, usageOf(body, count)));
  await endStream(reply);
}

function* answerDeltas(script: FullScript, { modalities }: ChatBody): Generator<object> {
  if (script.phrases !== undefined && modalities?.includes('audio') === true) {
    yield* spokenDeltas(script.phrases);
  } else {
    for (const content of scriptedTokens(script)) yield { content };
  }
}

async function endStream(reply: Reply): Promise<void> {
  const { withoutDone, crlf, holdOpen } = reply.script.sse;
  if (withoutDone !== true) {
    await reply.write(Buffer.from(crlf === true ? 'data: [DONE]\r\n\r\n' : 'data: [DONE]\n\n'));
  }
  if (holdOpen === true) await reply.silence();
  reply.end();
}

async function wholeChat(reply: Reply, body: ChatBody): Promise<void> {
  const { script } = reply;
  const tokens = [...scriptedTokens(script)];
  const finish_reason = script.fault?.type === 'no-finish-reason' ? null : finishReason(script);
  const message = {
    role: 'assistant',
    content: script.toolCalls === undefined ? tokens.join('') : null,
    refusal: null,
    ...(script.toolCalls === undefined ? {} : { tool_calls: script.toolCalls.map(toolCall) }),
  };
  const answer = {
    id: 'chatcmpl-scripted',
    object: 'chat.completion',
    created: CREATED,
    model: body.model,
    choices: [...Array(body.n ?? 1).keys()].map((index) => ({
      index,
      message,
      logprobs: null,
      finish_reason,
    })),
    ...(script.usage === 'never' ? {} : { usage: usageOf(body, tokens.length) }),
  };
  await reply.wait(script.tokenDelayMs * tokens.length);
  await reply.head(200, { 'content-type': 'application/json' });
  if (script.fault?.type === 'long-line') await longLine(reply, script.fault.bytes);
  const bytes = Buffer.from(JSON.stringify(answer));
  const half = bytes.byteLength >> 1;
  await sendUnpaced(reply, bytes.subarray(0, half));
  await sendUnpaced(reply, bytes.subarray(half));
  reply.end();
}

/** A whole answer comes in two tokens, so that it can be cut in its middle; they need no pace. */
async function sendUnpaced(reply: Reply, bytes: Uint8Array): Promise<void> {
  await reply.tokensDone();
  await reply.write(bytes);
  reply.request.tokensWritten += 1;
}

async function longLine(reply: Reply, bytes: number): Promise<never> {
  await reply.write(Buffer.from('data: {"choices":[{"index":0,"delta":{"content":"'));
  const piece = Buffer.alloc(64 * 1024, 'y');
  for (let left = bytes; left > 0; left -= piece.byteLength) {
    await reply.write(piece.subarray(0, left));
  }
  return reply.silence();
}

function chunk(model: string, choice: object | undefined, usage?: object): object {
  return {
    id: 'chatcmpl-scripted',
    object: 'chat.completion.chunk',
    created: CREATED,
    model,
    choices: choice === undefined ? [] : [choice],
    ...(usage === undefined ? {} : { usage }),
  };
}

function sseFrame(data: object, style: SseStyle): string {
  const end = style.crlf === true ? '\r\n' : '\n';
  let frame = '';
  if (style.comments === true) frame += `: keepalive${end}${end}`;
  if (style.idLines === true) frame += `id: 7${end}`;
  if (style.eventLines === true) frame += `event: message${end}`;
  return `${frame}data:${style.tight === true ? '' : ' '}${JSON.stringify(data)}${end}${end}`;
}

function toolCallDeltas(calls: readonly ScriptedToolCall[]): object[] {
  return calls.flatMap((call, index) => {
    const half = call.arguments.length >> 1;
    const begin = { id: call.id, type: 'function', function: { name: call.name, arguments: '' } };
    const parts = [call.arguments.slice(0, half), call.arguments.slice(half)];
    return [
      { tool_calls: [{ index, ...begin }] },
      ...parts.map((part) => ({ tool_calls: [{ index, function: { arguments: part } }] })),
    ];
  });
}

function toolCall(call: ScriptedToolCall): object {
  return {
    id: call.id,
    type: 'function',
    function: { name: call.name, arguments: call.arguments },
  };
}

function finishReason(script: FullScript): string {
  return script.finishReason ?? (script.toolCalls === undefined ? 'stop' : 'tool_calls');
}

function usageWanted(script: FullScript, asked: boolean): boolean {
  return script.usage === 'always' || (script.usage === 'asked' && asked);
}

function usageOf(body: ChatBody, completionTokens: number): object {
  const promptTokens = body.messages?.length ?? 0;
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
  };
}
