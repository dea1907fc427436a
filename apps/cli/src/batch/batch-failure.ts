import { APIError } from 'openai';
import { CliError } from '../cli-error.ts';
import type { Batch } from './batch-client.ts';

const MOST_FAULTS = 3;

/** Whether the server knows no such file or batch, but knows what files and batches are. */
export function isUnknown(thrown: unknown): boolean {
  if (!(thrown instanceof APIError) || thrown.status !== 404) return false;
  return Boolean(thrown.param) || /no such|not found|no (?:file|batch)/i.test(thrown.message);
}

/** What a 404 of these routes means; anything else is returned as it is. */
export function batchFailure(thrown: unknown): unknown {
  if (!(thrown instanceof APIError) || thrown.status !== 404) return thrown;
  if (isUnknown(thrown)) {
    const told = thrown.message.replace(/^404 /, '').replace(/[\s.]+$/, '');
    return new CliError(`${told} (404)`, 'see batch status for those that are there', {
      cause: thrown,
    });
  }
  const advice = 'check the base URL, with its /v1: antiphon has them';
  return new CliError('the server has no batches (404)', advice, { cause: thrown });
}

/** Why a batch was not begun. */
export function refusedBatch({ id, errors }: Batch): CliError {
  const faults = (errors?.data ?? []).slice(0, MOST_FAULTS).map(({ message, line }) => {
    const where = line === undefined || line === null ? '' : `line ${line}: `;
    return `${where}${(message ?? 'no reason given').replace(/[\s.]+$/, '')}`;
  });
  const what = `the server did not begin ${id}: ${faults.join('; ') || 'no reason given'}`;
  return new CliError(what, 'change the requests');
}
