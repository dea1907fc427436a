import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { VoiceError } from '../errors/voice-error.ts';
import { BATCH_LINE_TOTAL_MS } from '../jobs/batch-line-job.ts';
import type { EngineShare } from '../queue/engine-share.ts';
import type { LineOutcome } from './batch-store.ts';
import { LineDeadline } from './line-deadline.ts';
import type { LineContext, LineHandler, LineWork } from './line-handler.ts';

/** A handler that does not heed its signal is given up after so long. */
const HEED_MS = 500;

/** Why a line is not to be ended by the run that has it. */
type AbortReason = 'batch-end' | 'lock-lost' | 'shutdown';

export interface LineRunOptions<Kind extends LineWork> {
  handler: LineHandler<Kind>;
  share: EngineShare;
  /** `BATCH_LINE_TOTAL_MS` unless told. */
  totalMs?: number | undefined;
}

/** One run of one line. */
export class LineRun {
  readonly batchId: string;
  readonly jobId: string;
  readonly #controller = new AbortController();
  /** It has had a turn: at a shutdown it may end. */
  begun = false;

  constructor(batchId: string, jobId: string) {
    this.batchId = batchId;
    this.jobId = jobId;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  abort(reason: AbortReason): void {
    this.#controller.abort(new LineAborted(reason));
  }

  /**
   * Rejects with what the handler throws; with the signal's reason where that aborted: LineAborted,
   * or `stream_timeout` for a line that took too long. All turns are given back then. Who has lost
   * the line rejects too; otherwise what is done is done.
   */
  async handle<Kind extends LineWork>(
    job: LineContext<Kind>['job'],
    { handler, share, totalMs = BATCH_LINE_TOTAL_MS }: LineRunOptions<Kind>,
  ): Promise<LineOutcome> {
    const { signal } = this;
    signal.throwIfAborted();
    const turns = new Set<() => void>();
    const over = new AbortController();
    // A transcription's time depends on the recording: its handler knows it.
    const limitMs = job.work.type === 'transcription' ? Infinity : totalMs;
    const deadline = new LineDeadline(limitMs, () => this.#controller.abort(lineTimeout(limitMs)));
    const either = AbortSignal.any([signal, over.signal]);
    const takeTurn = async () => {
      const release = await deadline.halt(() => share.takeTurn(either));
      turns.add(release);
      if (either.aborted) release();
      either.throwIfAborted();
      this.begun = true;
      return release;
    };
    const handled = handler({ job, signal, takeTurn });
    handled.catch(() => undefined); // also when it is given up, and fails later
    try {
      const outcome = await Promise.race([handled, ignored(signal)]);
      if (signal.reason instanceof LineAborted && signal.reason.reason === 'lock-lost')
        throw signal.reason;
      return outcome;
    } catch (error) {
      // Engines wrap the reason that they are given, or throw something of their own.
      signal.throwIfAborted();
      throw error;
    } finally {
      deadline.close();
      // What a handler leaves behind may still be waiting for a turn.
      over.abort(new Error('the line is over'));
      for (const release of turns) release();
    }
  }
}

/** The reason of a line's signal; engines throw it back. */
export class LineAborted extends Error {
  readonly reason: AbortReason;

  constructor(reason: AbortReason) {
    super(`line aborted: ${reason}`);
    this.name = 'LineAborted';
    this.reason = reason;
  }
}

function lineTimeout(limitMs: number): VoiceError {
  const message = `The line took longer than ${limitMs / 1000} s.`;
  return new VoiceError('stream_timeout', { message });
}

/** Rejects when a handler runs on for a while after its signal: what it does then is not recorded. */
async function ignored(signal: AbortSignal): Promise<never> {
  await once(signal, 'abort');
  await delay(HEED_MS, undefined, { ref: false });
  throw signal.reason;
}
