import { once } from 'node:events';
import { connect } from 'node:net';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { LATE, answerWithin, within } from './within.ts';

describe('within', () => {
  it('waits for what ends, however it ends', async () => {
    expect(await within(60_000, Promise.resolve())).toBe(true);
    expect(await within(60_000, Promise.reject(new Error('away')))).toBe(true);
  });

  it('does not wait for what does not', async () => {
    const never = Promise.withResolvers<void>();
    expect(await within(1, never.promise)).toBe(false);
  });
});

describe('an answer', () => {
  it('in time is given, be it a failure', async () => {
    expect(await answerWithin(60_000, Promise.resolve('here'))).toBe('here');
    await expect(answerWithin(60_000, Promise.reject(new Error('away')))).rejects.toThrow('away');
  });

  it('that does not come is LATE', async () => {
    const never = Promise.withResolvers<void>();
    expect(await answerWithin(1, never.promise)).toBe(LATE);
  });

  it('that came while this process was paused counts', async () => {
    const answered = new Int32Array(new SharedArrayBuffer(4));
    // Another thread answers and says so, while this one stands still.
    const server = new Worker(
      `const { parentPort, workerData } = require('node:worker_threads');
      const server = require('node:net').createServer((socket) =>
        socket.once('data', () => socket.end('answer', () => {
          Atomics.store(workerData, 0, 1);
          Atomics.notify(workerData, 0);
        })));
      server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port));`,
      { eval: true, workerData: answered },
    );
    const [port] = (await once(server, 'message')) as [number];
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    const answer = answerWithin(1, once(socket, 'data'));
    socket.write('question');
    expect(Atomics.wait(answered, 0, 0, 20_000)).not.toBe('timed-out');
    expect(await answer).not.toBe(LATE);
    socket.destroy();
    await server.terminate();
  });
});
