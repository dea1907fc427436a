import type { BatchLineJob } from '../jobs/batch-line-job.ts';
import type { LineOutcome } from './batch-store.ts';

export type LineWork = BatchLineJob['work']['type'];

export interface LineContext<Work extends LineWork = LineWork> {
  job: Omit<BatchLineJob, 'work'> & { work: Extract<BatchLineJob['work'], { type: Work }> };
  /** Aborts when the batch is over, the lock was lost, the line took too long or the process must stop. */
  signal: AbortSignal;
  /**
   * To be called before each use of the engine, and its result after it: resolves when what people
   * wait for leaves room. Rejects with the signal's reason.
   */
  takeTurn: () => Promise<() => void>;
}

/**
 * Does one line of a batch; may be run again, by another process as well, before its outcome is
 * taken. A VoiceError that it throws is tried again when its code says that this helps, and is else
 * the line's result.
 */
export type LineHandler<Work extends LineWork = LineWork> = (
  context: LineContext<Work>,
) => Promise<LineOutcome>;
