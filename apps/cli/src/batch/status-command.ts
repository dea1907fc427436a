import type { CliContext } from '../context.ts';
import type { Batch } from './batch-client.ts';
import { withBatches } from './follow-batch.ts';

/** How many are listed. */
const MOST_LISTED = 20;

export interface StatusOptions {
  json: boolean;
}

/** Shows one batch, or the newest ones. Returns the exit code; throws a CliError. */
export async function showStatus(
  context: CliContext,
  batchId: string | undefined,
  { json }: StatusOptions,
): Promise<number> {
  return withBatches(context, async ({ client, signal }) => {
    const found =
      batchId === undefined
        ? await client.list(MOST_LISTED, signal)
        : [await client.get(batchId, signal)];
    const shown = batchId === undefined ? found : found[0];
    if (json) context.terminal.print(`${JSON.stringify(shown, undefined, 2)}\n`);
    else if (found.length === 0) context.terminal.notice('there are no batches');
    else context.terminal.print(found.map(row).join(''));
    return 0;
  });
}

/** What is being worked on may still end well: its results can be fetched. */
export async function cancelBatch(context: CliContext, batchId: string): Promise<number> {
  return withBatches(context, async ({ client, signal }) => {
    context.terminal.print(row(await client.cancel(batchId, signal)));
    return 0;
  });
}

function row(batch: Batch): string {
  const { completed = 0, failed = 0, total = 0 } = batch.request_counts ?? {};
  const created = new Date(batch.created_at * 1000).toISOString().slice(0, 16).replace('T', ' ');
  const counts = `${completed} of ${total}${failed > 0 ? `, ${failed} failed` : ''}`;
  const faults = (batch.errors?.data ?? []).map(({ line, message }) => {
    return `    ${line ? `line ${line}: ` : ''}${message ?? ''}\n`;
  });
  const columns = [batch.id, batch.status.padEnd(11), counts, batch.endpoint, `${created} UTC`];
  return `${columns.join('  ')}\n${faults.join('')}`;
}
