import type { CliContext } from '../context.ts';
import { describeApiFailure, isAbort } from '../api-failure.ts';
import { CliError } from '../cli-error.ts';
import { INTERRUPTED_EXIT } from '../interrupts.ts';
import { type Batch, BatchClient } from './batch-client.ts';
import { batchFailure, refusedBatch } from './batch-failure.ts';
import { Progress } from './progress.ts';
import { watchBatch } from './watch-batch.ts';

/** One command's work with batches. */
export interface BatchWork {
  context: CliContext;
  client: BatchClient;
  signal: AbortSignal;
  /** What is said when Ctrl-C stops the command. */
  onStop(tell: () => string | undefined): void;
}

/** Runs a command: its failures become a CliError, Ctrl-C says what goes on without it. */
export async function withBatches(
  context: CliContext,
  work: (work: BatchWork) => Promise<number>,
): Promise<number> {
  const { signal, release } = context.interrupts.guard();
  const client = new BatchClient(context.api);
  let stopped = (): string | undefined => undefined;
  try {
    return await work({
      ...{ context, client, signal },
      onStop: (tell) => {
        stopped = tell;
      },
    });
  } catch (thrown) {
    if (!signal.aborted || !isAbort(thrown)) {
      throw describeApiFailure(batchFailure(thrown), context.api.baseUrl);
    }
    const told = stopped();
    if (told !== undefined) context.terminal.notice(told);
    return INTERRUPTED_EXIT;
  } finally {
    release();
  }
}

/** Waits for the end of a batch and shows how far it is. Throws a CliError when it was not begun. */
export async function followBatch(
  { context, client, signal }: Omit<BatchWork, 'onStop'>,
  batchId: string,
  /** Lines of the whole that are not in this batch: done before, and all. */
  { before = 0, total: all = 0 }: { before?: number; total?: number } = {},
): Promise<Batch> {
  const bar = new Progress(context.terminal);
  const onAway = (): void => context.terminal.notice('the server does not answer: waiting for it');
  let last: Batch | undefined;
  try {
    for await (const batch of watchBatch(client, batchId, { signal, onAway })) {
      last = batch;
      const { completed = 0, failed = 0, total = 0 } = batch.request_counts ?? {};
      bar.update({ done: before + completed + failed, total: Math.max(all, total), failed });
    }
  } finally {
    bar.end();
  }
  if (last === undefined) throw new CliError(`nothing is known of ${batchId}`, 'ask again');
  return last;
}

/** Throws a CliError for a batch whose lines are not all done. */
export function checkWhole(batch: Batch, where: string): void {
  const { completed = 0, failed = 0, total = 0 } = batch.request_counts ?? {};
  if (batch.status === 'failed') throw refusedBatch(batch);
  if (batch.status !== 'completed') {
    throw new CliError(
      `${batch.id} ${batch.status} with ${completed} of ${total} lines done`,
      where,
    );
  }
  if (failed > 0) throw new CliError(`${failed} of ${total} lines failed`, where);
}
