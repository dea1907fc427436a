import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { EngineShare } from './engine-share.ts';

const never = new AbortController().signal;

/** A job that somebody waits for, until it is told to end. */
function occupy(share: EngineShare): { leave: () => Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const done = share.interactive(() => promise);
  return {
    leave: async () => {
      resolve();
      await done;
    },
  };
}

/** A call for a turn, and whether it has one. */
function ask(share: EngineShare, signal = never) {
  const call: { turn: (() => void) | undefined; error: unknown } = {
    turn: undefined,
    error: undefined,
  };
  const wait = async () => {
    call.turn = await share.takeTurn(signal);
  };
  wait().catch((error: unknown) => {
    call.error = error;
  });
  return call;
}

describe('the share of batches', () => {
  it.each([
    [1, 100, 1],
    [8, 100, 8],
    [8, 50, 4],
    [3, 50, 1],
    [32, 1, 1],
  ])('of %d at %d %% is %d', async (concurrency, sharePercent, turns) => {
    const share = new EngineShare({ concurrency, sharePercent });
    const calls = Array.from({ length: concurrency + 2 }, () => ask(share));
    await nextTurn();
    expect(calls.filter(({ turn }) => turn)).toHaveLength(turns);
    expect(share.batchLimit).toBe(turns);
  });

  it.each([
    [256, 100, 4, 4],
    [256, 1, 4, 2],
    [2, 100, 4, 2],
  ])('of %d at %d %% for %d lines is %d', (concurrency, sharePercent, batchConcurrency, turns) => {
    const share = new EngineShare({ concurrency, sharePercent, batchConcurrency });
    expect(share.batchLimit).toBe(turns);
  });

  it('gives no turn while interactive jobs fill the engine', async () => {
    const share = new EngineShare({ concurrency: 1, sharePercent: 100 });
    const job = occupy(share);
    const call = ask(share);
    await nextTurn();
    expect(call.turn).toBeUndefined();
    await job.leave();
    await nextTurn();
    expect(call.turn).toBeTypeOf('function');
  });

  it('gives one turn beside one interactive job of two', async () => {
    const share = new EngineShare({ concurrency: 2, sharePercent: 100 });
    const job = occupy(share);
    const calls = [ask(share), ask(share)];
    await nextTurn();
    expect(calls.map(({ turn }) => turn !== undefined)).toEqual([true, false]);
    await job.leave();
    await nextTurn();
    expect(calls[1]?.turn).toBeTypeOf('function');
  });

  it('never lets an interactive job wait', async () => {
    const share = new EngineShare({ concurrency: 1, sharePercent: 100 });
    await share.takeTurn(never);
    expect(await share.interactive(async () => 'at once')).toBe('at once');
    await expect(
      share.interactive(async () => {
        throw new Error('engine');
      }),
    ).rejects.toThrow('engine');
  });

  it('is first come, first served, and a turn goes back once', async () => {
    const share = new EngineShare({ concurrency: 1, sharePercent: 100 });
    const release = await share.takeTurn(never);
    const calls = [ask(share), ask(share), ask(share)];
    release();
    release();
    await nextTurn();
    expect(calls.map(({ turn }) => turn !== undefined)).toEqual([true, false, false]);
    calls[0]?.turn?.();
    await nextTurn();
    expect(calls.map(({ turn }) => turn !== undefined)).toEqual([true, true, false]);
  });

  it('is not held up by who has left the line', async () => {
    const share = new EngineShare({ concurrency: 1, sharePercent: 100 });
    const release = await share.takeTurn(never);
    const stop = new AbortController();
    const calls = [ask(share, stop.signal), ask(share)];
    stop.abort(new Error('over'));
    await nextTurn();
    expect(calls[0]?.error).toBe(stop.signal.reason);
    release();
    await nextTurn();
    expect(calls[1]?.turn).toBeTypeOf('function');
    stop.abort(new Error('again'));
    await expect(share.takeTurn(stop.signal)).rejects.toThrow('over');
  });
});
