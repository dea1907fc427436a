import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../runtime/logger.ts';
import type { Claim } from '../streams/stream-log.ts';

/** A handler that does not heed its signal is given up after so long; the fence keeps it silent. */
const HEED_MS = 2000;

/** Why a job's signal aborted. */
export type AbortReason = 'stream-end' | 'lock-lost' | 'gateway-lost' | 'shutdown';

/** The reason of a job's signal; engines throw it back. */
export class JobAborted extends Error {
  readonly reason: AbortReason;

  constructor(reason: AbortReason) {
    super(`job aborted: ${reason}`);
    this.name = 'JobAborted';
    this.reason = reason;
  }
}

/** A job that this process works on. */
export interface ActiveJob {
  streamId: string;
  gatewayId: string;
  jobId: string;
  controller: AbortController;
}

export interface JobRun {
  /** Aborts by `JobAborted`. */
  signal: AbortSignal;
  claim: () => Promise<Claim>;
  /** Whether the gateway of its stream lives. */
  isLeased: () => Promise<boolean>;
  handle: (claim: Claim) => Promise<void>;
  logger: Logger;
}

/**
 * Claims a job and has it handled; a stream that is closed by then needs nothing. Throws what the
 * handler throws, and `JobAborted` where it does not come to that.
 */
export async function runJob({ signal, claim, isLeased, handle, logger }: JobRun): Promise<void> {
  const [claimed, leased] = await Promise.all([claim(), isLeased()]);
  if (claimed.status !== 'open') return;
  if (!leased) throw new JobAborted('gateway-lost');
  signal.throwIfAborted();
  const handled = handle(claimed);
  await Promise.race([handled, ignored(signal)]).catch((error: unknown) => {
    if (error instanceof SignalIgnored) {
      logger.warn('a handler does not heed its signal');
      handled.catch(() => undefined); // its end is written by who runs it; what it still does is fenced
    }
    throw error;
  });
}

/** Rejects when a handler runs on for a while after its signal. */
async function ignored(signal: AbortSignal): Promise<never> {
  await once(signal, 'abort');
  await delay(HEED_MS, undefined, { ref: false });
  throw new SignalIgnored();
}

class SignalIgnored extends Error {
  constructor() {
    super('the handler does not heed its signal');
    this.name = 'SignalIgnored';
  }
}
