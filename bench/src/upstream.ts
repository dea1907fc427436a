/**
 * The scripted upstream: an OpenAI chat endpoint that sends numbered tokens, each stamped with the
 * machine's clock, at a steady pace or as fast as the socket takes them, and a speech endpoint for
 * answers that are to be spoken. A process of its own; tells its port to its parent and ends with it.
 */
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { monotonicMs } from './clock.ts';
import { ScriptedVoices, VOICE_MARKS_PATH } from './scripted-voice.ts';
import { FINISH_FRAMES, ROLE_FRAME, scriptOf, tokenFrame } from './token-script.ts';
import type { TokenScript } from './token-script.ts';
import { TokenWheel } from './token-wheel.ts';
import { VOICE_TOKENS_PER_SECOND, askedMarker } from './voice-script.ts';

/**
 * Tokens between two looks at the event loop in a flood. Node joins the writes of one tick into one
 * system call, and each token stays an HTTP chunk of its own, as model servers send them.
 */
const FLOOD_WRITE_TOKENS = 32;

const wheels = new Map<number, TokenWheel>();

function wheelOf(tokensPerSecond: number): TokenWheel {
  let wheel = wheels.get(tokensPerSecond);
  if (!wheel) wheels.set(tokensPerSecond, (wheel = new TokenWheel(1000 / tokensPerSecond)));
  return wheel;
}

interface PacedFrames {
  count: number;
  tokensPerSecond: number;
  frame: (index: number) => string;
}

function paced(response: ServerResponse, { count, tokensPerSecond, frame }: PacedFrames): void {
  let index = 0;
  const sendOne = (): boolean => {
    if (response.destroyed) return false;
    response.write(frame(index), 'latin1');
    index += 1;
    if (index < count) return true;
    response.end(FINISH_FRAMES);
    return false;
  };
  // The first token is the answer to the request, so that time to first token holds no wait.
  if (sendOne()) wheelOf(tokensPerSecond).add(sendOne);
}

function flood(response: ServerResponse, script: TokenScript): void {
  let index = 0;
  const sendSome = (): void => {
    if (response.destroyed) return;
    const stopAt = Math.min(index + FLOOD_WRITE_TOKENS, script.tokens);
    let taken = true;
    for (; index < stopAt; index += 1) {
      taken = response.write(tokenFrame(index, monotonicMs()), 'latin1');
    }
    if (index === script.tokens) response.end(FINISH_FRAMES);
    else if (taken) setImmediate(sendSome);
    else response.once('drain', sendSome);
  };
  sendSome();
}

const voices = new ScriptedVoices();

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.url?.endsWith('/models')) {
    response.setHeader('content-type', 'application/json');
    response.end('{"object":"list","data":[{"id":"bench","object":"model"}]}');
    return;
  }
  if (request.url === VOICE_MARKS_PATH) {
    response.end(JSON.stringify(voices.takeMarks()));
    return;
  }
  if (request.url?.endsWith('/audio/speech')) return voices.speak(request, response);
  const body = await text(request);
  const script = scriptOf(body);
  const marker = askedMarker(body);
  if (!script && marker === undefined) {
    response.writeHead(400).end('{"error":{"message":"No script in the request."}}');
    return;
  }
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
  response.write(ROLE_FRAME);
  if (marker !== undefined) {
    paced(response, { ...voices.frames(marker), tokensPerSecond: VOICE_TOKENS_PER_SECOND });
  } else if (script && script.tokensPerSecond > 0) {
    const { tokens: count, tokensPerSecond } = script;
    paced(response, { count, tokensPerSecond, frame: (index) => tokenFrame(index, monotonicMs()) });
  } else if (script) flood(response, script);
}

const server = createServer({ keepAliveTimeout: 75_000 }, (request, response) => {
  answer(request, response).catch((error: unknown) => {
    console.error('upstream:', error);
    response.destroy();
  });
});
server.on('connection', (socket: Socket) => socket.setNoDelay(true));
server.listen(0, '127.0.0.1', () => {
  process.send?.({ port: (server.address() as AddressInfo).port });
});
process.once('disconnect', () => process.exit(0));
