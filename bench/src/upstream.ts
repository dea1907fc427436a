/**
 * The scripted upstream: an OpenAI chat endpoint that sends numbered tokens, each stamped with the
 * machine's clock, at a steady pace or as fast as the socket takes them. A process of its own;
 * tells its port to its parent and ends with it.
 */
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { monotonicMs } from './clock.ts';
import { FINISH_FRAMES, ROLE_FRAME, scriptOf, tokenFrame } from './token-script.ts';
import type { TokenScript } from './token-script.ts';
import { TokenWheel } from './token-wheel.ts';

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

function paced(response: ServerResponse, script: TokenScript): void {
  let index = 0;
  const sendOne = (): boolean => {
    if (response.destroyed) return false;
    response.write(tokenFrame(index, monotonicMs()), 'latin1');
    index += 1;
    if (index < script.tokens) return true;
    response.end(FINISH_FRAMES);
    return false;
  };
  // The first token is the answer to the request, so that time to first token holds no wait.
  if (sendOne()) wheelOf(script.tokensPerSecond).add(sendOne);
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

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.url?.endsWith('/models')) {
    response.setHeader('content-type', 'application/json');
    response.end('{"object":"list","data":[{"id":"bench","object":"model"}]}');
    return;
  }
  const script = scriptOf(await text(request));
  if (!script) {
    response.writeHead(400).end('{"error":{"message":"No script in the request."}}');
    return;
  }
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
  response.write(ROLE_FRAME);
  (script.tokensPerSecond > 0 ? paced : flood)(response, script);
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
