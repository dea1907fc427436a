/** What `errors` of a batch may say of its input file; docs/errors.md tells when, a test holds it to this. */
export const INPUT_FAULT_CODES = [
  'file_not_found',
  'empty_file',
  'too_many_tasks',
  'line_too_long',
  'invalid_json_line',
  'missing_custom_id',
  'invalid_custom_id',
  'duplicate_custom_id',
  'invalid_method',
  'url_mismatch',
  'missing_body',
  'model_mismatch',
] as const;
export type InputFaultCode = (typeof INPUT_FAULT_CODES)[number];

/** What the error file says of a line that has no result; in docs/errors.md as well. */
export const UNDONE_CODES = ['batch_cancelled', 'batch_expired'] as const;
export type UndoneCode = (typeof UNDONE_CODES)[number];

/** What is wrong with an input file. */
export interface BatchFault {
  code: InputFaultCode;
  message: string;
  param: string | null;
  /** From 1; null where it is the file as a whole. */
  line: number | null;
}
