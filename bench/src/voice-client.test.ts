import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { VoicePlan, VoiceReply, VoiceResult, VoiceWay } from './voice-plan.ts';
import { SPEECH_TAKES_MS, VOICE_ANSWER_MS } from './voice-script.ts';

let upstream: ChildProcess;
let client: ChildProcess;
let upstreamPort: number;

beforeAll(async () => {
  upstream = fork(new URL('./upstream.ts', import.meta.url));
  client = fork(new URL('./voice-client.ts', import.meta.url));
  const [message] = (await once(upstream, 'message')) as [{ port: number }];
  upstreamPort = message.port;
});

afterAll(async () => {
  const gone = [upstream, client].map((child) => once(child, 'exit'));
  upstream.disconnect();
  client.disconnect();
  await Promise.all(gone);
});

async function speak(way: VoiceWay, plan: VoicePlan): Promise<VoiceReply> {
  client.send({ way, upstreamPort, plan });
  const [reply] = (await once(client, 'message')) as [VoiceReply];
  return reply;
}

async function speakBare(plan: VoicePlan): Promise<VoiceResult> {
  const reply = await speak({ kind: 'bare' }, plan);
  if ('failure' in reply) throw new Error(reply.failure);
  return reply.result;
}

test.each(['pcm16', 'mp3'] as const)('the bare loop speaks whole answers in %s', async (format) => {
  const result = await speakBare({ kind: 'burst', format, voices: 3, bursts: 2 });
  expect(result).toMatchObject({ allAnswers: 6 });
  expect(result.times).toHaveLength(6);
  for (const { sinceBoundaryMs, addedMs, toEngineMs, fromEngineMs } of result.times) {
    // One clock for both processes: nothing arrives before it was sent.
    expect(toEngineMs).toBeGreaterThan(0);
    expect(fromEngineMs).toBeGreaterThan(0);
    expect(addedMs).toBeCloseTo(toEngineMs + fromEngineMs);
    // Node's timers are a millisecond early at times.
    expect(sinceBoundaryMs - addedMs).toBeGreaterThanOrEqual(SPEECH_TAKES_MS - 1.5);
  }
});

test('of answers that are spread, those of the warm-up are not counted', async () => {
  const plan = { kind: 'spread', format: 'pcm16', voices: 5 } as const;
  const spanMs = VOICE_ANSWER_MS;
  const all = await speakBare({ ...plan, warmUpMs: 0, measureMs: 2 * spanMs });
  const later = await speakBare({ ...plan, warmUpMs: spanMs, measureMs: spanMs });
  expect(all.times).toHaveLength(all.allAnswers);
  // The same moments each time.
  expect(later.allAnswers).toBe(all.allAnswers);
  expect(later.times.length).toBeGreaterThan(0);
  expect(later.times.length).toBeLessThan(later.allAnswers);
});

test('an answer that is not whole is a failure, not a figure', async () => {
  const server = createServer((_, response) => response.end('data: [DONE]\n\n'));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const way = { kind: 'gateway', target: { port, headers: {} } } as const;
  const reply = await speak(way, { kind: 'burst', format: 'mp3', voices: 1, bursts: 1 });
  expect(reply).toEqual({ failure: 'Said: ' });
  server.close();
});
