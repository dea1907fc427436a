import type { BatchFault, InputFaultCode } from '@antiphon/shared/batches/batch-fault';
import type { BatchEndpoint } from '@antiphon/shared/batches/batch-record';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { type JsonBody, parseJsonObject } from '../openai/json-body.ts';
import { type InputLine, MAX_LINE_BYTES } from './input-lines.ts';

/** Of characters; they stand in every line of the answer. */
const MAX_CUSTOM_ID_LENGTH = 512;

type Fault = Omit<BatchFault, 'line'>;

export interface CheckedLine {
  customId: string;
  /** As the line names it; undefined where it leaves it out. */
  model: string | undefined;
}

/** A line of a file that was checked before. */
export interface ReadLine {
  customId: string;
  body: JsonBody;
}

/**
 * What is wrong with the envelope of a line; its body is looked at when it is its turn. The codes
 * are OpenAI's where it has one (contract, section 8); docs/errors.md lists them all.
 */
export function checkLine(
  { bytes }: InputLine,
  endpoint: BatchEndpoint,
): CheckedLine | { fault: Fault } {
  if (!bytes) {
    return fault('line_too_long', `This line is longer than ${MAX_LINE_BYTES} bytes.`);
  }
  let value: Record<string, unknown>;
  try {
    ({ value } = parseJsonObject(bytes));
  } catch {
    return fault('invalid_json_line', unparsable(bytes));
  }
  const { custom_id: customId, body } = value;
  const found =
    customIdFault(customId) ?? methodFault(value['method']) ?? urlFault(value['url'], endpoint);
  if (found) return found;
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    return fault('missing_body', "This line has no 'body', or it is not an object.", 'body');
  }
  return { customId: customId as string, model: modelOf(body) };
}

/** Throws `invalid_json` for a line that was not checked. */
export function readLine({ bytes }: InputLine): ReadLine {
  const { value } = parseJsonObject(bytes ?? new Uint8Array());
  const { custom_id: customId, body } = value;
  if (typeof customId !== 'string' || typeof body !== 'object' || body === null) {
    throw new VoiceError('invalid_json');
  }
  return {
    customId,
    body: { value: body as Record<string, unknown>, text: JSON.stringify(body) },
  };
}

function unparsable(bytes: Buffer): string {
  const hasMark = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
  return hasMark
    ? 'This line is not parseable as valid JSON: it begins with a byte order mark. Save the file as UTF-8 without one.'
    : 'This line is not parseable as valid JSON.';
}

function customIdFault(customId: unknown) {
  if (customId === undefined || customId === null || customId === '') {
    return fault('missing_custom_id', "This line has no 'custom_id'.", 'custom_id');
  }
  if (typeof customId === 'string' && customId.length <= MAX_CUSTOM_ID_LENGTH) return undefined;
  return fault(
    'invalid_custom_id',
    `The 'custom_id' of this line is not a text of at most ${MAX_CUSTOM_ID_LENGTH} characters.`,
    'custom_id',
  );
}

const methodFault = (method: unknown) =>
  method === 'POST'
    ? undefined
    : fault('invalid_method', "The 'method' of this line must be 'POST'.", 'method');

const urlFault = (url: unknown, endpoint: BatchEndpoint) =>
  url === endpoint
    ? undefined
    : fault(
        'url_mismatch',
        `The 'url' of this line is not the batch's endpoint, which is '${endpoint}'.`,
        'url',
      );

function modelOf(body: unknown): string | undefined {
  const { model } = Object(body) as { model?: unknown };
  return typeof model === 'string' && model !== '' ? model : undefined;
}

const fault = (
  code: InputFaultCode,
  message: string,
  param: string | null = null,
): { fault: Fault } => ({
  fault: { code, message, param },
});
