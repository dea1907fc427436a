import type { BatchFault, InputFaultCode } from '@antiphon/shared/batches/batch-fault';
import type { BatchEndpoint } from '@antiphon/shared/batches/batch-record';
import { checkLine } from './input-line.ts';
import { readInputLines } from './input-lines.ts';

/** As many faults are told as help; the rest of the file is not read then. */
const MOST_FAULTS = 100;

export interface InputRules {
  endpoint: BatchEndpoint;
  maxLines: number;
  /** What a line without a model means, where that is known. */
  defaultModel: string | undefined;
}

/** The whole file's: how many lines, and their one model ('' where none is known). */
export interface CheckedInput {
  total: number;
  model: string;
}

/** Reads an input file once. Line numbers of faults count from 1. */
export async function validateInput(
  source: AsyncIterable<Buffer>,
  { endpoint, maxLines, defaultModel = '' }: InputRules,
): Promise<CheckedInput | { faults: BatchFault[] }> {
  const faults: BatchFault[] = [];
  const seen = new Set<string>();
  let total = 0;
  let model: string | undefined;
  for await (const input of readInputLines(source)) {
    if (faults.length >= MOST_FAULTS) break;
    total += 1;
    if (total > maxLines) {
      faults.push(fileFault('too_many_tasks', `The file has more than ${maxLines} lines.`));
      break;
    }
    const note = (code: InputFaultCode, message: string, param: string | null = null) =>
      faults.push({ code, message, param, line: input.line + 1 });
    const checked = checkLine(input, endpoint);
    if ('fault' in checked) {
      note(checked.fault.code, checked.fault.message, checked.fault.param);
      continue;
    }
    if (seen.has(checked.customId)) {
      const message = `The 'custom_id' of this line was used before: '${checked.customId.slice(0, 100)}'.`;
      note('duplicate_custom_id', message, 'custom_id');
    }
    seen.add(checked.customId);
    const asked = checked.model ?? defaultModel;
    model ??= asked;
    if (asked !== model) note('model_mismatch', mismatch(asked, model), 'body.model');
  }
  if (total === 0) faults.push(fileFault('empty_file', 'The file has no lines.'));
  return faults.length > 0 ? { faults } : { total, model: model ?? '' };
}

const fileFault = (code: InputFaultCode, message: string): BatchFault => ({
  ...{ code, message },
  ...{ param: null, line: null },
});

const named = (model: string): string => (model === '' ? 'none' : `'${model.slice(0, 100)}'`);

const mismatch = (asked: string, model: string): string =>
  `All lines of a file must have the same model. This one has ${named(asked)}, the first one ${named(model)}.`;
