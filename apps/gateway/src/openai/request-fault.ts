import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { z } from 'zod';

type Issue = z.core.$ZodIssue;

/** `messages[0].content`, as OpenAI writes it. */
function parameterPath(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    return text === '' ? String(part) : `${text}.${String(part)}`;
  }, '');
}

const article = (noun: string): string => (/^[aeiou]/.test(noun) ? `an ${noun}` : `a ${noun}`);

/** Zod reports both as numbers; OpenAI's codes tell them apart. */
const INTEGERS = new Set([
  ...['n', 'max_tokens', 'max_completion_tokens', 'top_logprobs'],
  ...['limit', 'expires_after.seconds', 'output_expires_after.seconds'],
]);

/** What arrays are made of, for `an array of objects`. */
const ARRAYS_OF: Record<string, string> = {
  messages: 'objects',
  content: 'objects',
  tools: 'objects',
  stop: 'strings',
  modalities: 'strings',
};

/** Zod's and JavaScript's names of types, as OpenAI says them. */
const TYPE_NAMES: Record<string, string> = {
  record: 'object',
  int: 'integer',
  number: 'decimal',
  null: 'null',
  undefined: 'undefined',
};

function typeName(type: string, param = ''): string {
  const items = type === 'array' ? ARRAYS_OF[param.replace(/^.*\./, '')] : undefined;
  if (items !== undefined) return `array of ${items}`;
  return type === 'number' && INTEGERS.has(param) ? 'integer' : (TYPE_NAMES[type] ?? type);
}

function givenType(value: unknown): string {
  if (value === null) return 'null instead';
  if (Array.isArray(value)) return 'an array instead';
  if (typeof value === 'number' && !Number.isFinite(value))
    return 'a number that is out of range instead';
  if (typeof value === 'number')
    return Number.isInteger(value) ? 'an integer instead' : 'a decimal instead';
  return `${article(typeName(typeof value))} instead`;
}

/** The value at a path, for the message. */
function valueAt(body: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (value, part) =>
      typeof value === 'object' && value !== null
        ? (value as Record<PropertyKey, unknown>)[part]
        : undefined,
    body,
  );
}

const show = (value: unknown): string => {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value));
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
};

/** The first fault of a body as OpenAI reports it: code, `param`, and a message with the value (contract, section 9). */
export function requestFault(error: z.ZodError, body: unknown): VoiceError {
  const [issue] = error.issues;
  if (!issue) return new VoiceError('invalid_value');
  const param = parameterPath(issue.path);
  const value = valueAt(body, issue.path);
  return describeIssue(issue, param, value);
}

function describeIssue(issue: Issue, param: string, value: unknown): VoiceError {
  if (value === undefined && issue.code !== 'custom') {
    return new VoiceError('missing_required_parameter', {
      param,
      message: `Missing required parameter: '${param}'.`,
    });
  }
  switch (issue.code) {
    case 'invalid_type':
      return typeFault(param, article(typeName(issue.expected, param)), value);
    case 'invalid_union':
      return unionFault(issue, param, value);
    case 'invalid_value':
      return new VoiceError('invalid_value', {
        param,
        message: `Invalid value: '${show(value)}'. Supported values are: ${issue.values.map((known) => `'${String(known)}'`).join(', ')}.`,
      });
    case 'too_big':
    case 'too_small':
      return rangeFault(issue, param, value);
    default:
      return new VoiceError('invalid_value', { param, message: issue.message });
  }
}

function typeFault(param: string, expected: string, value: unknown): VoiceError {
  return new VoiceError('invalid_type', {
    param,
    message: `Invalid type for '${param}': expected ${expected}, but got ${givenType(value)}.`,
  });
}

/** Names the types a union takes, or, where the type fits, the fault of the one that does. */
function unionFault(
  issue: Extract<Issue, { code: 'invalid_union' }>,
  param: string,
  value: unknown,
): VoiceError {
  const inner = issue.errors
    .flat()
    .find(({ path, code }) => path.length > 0 || code !== 'invalid_type');
  if (inner) {
    const [first] = inner.path;
    const mark = first === undefined || typeof first === 'number' ? '' : '.';
    const innerValue = valueAt(value, inner.path);
    return describeIssue(inner, `${param}${mark}${parameterPath(inner.path)}`, innerValue);
  }
  const expected = issue.errors
    .flat()
    .flatMap((option) => (option.code === 'invalid_type' ? [option.expected] : []));
  const [first = '', ...others] = expected.map((type) => typeName(type, param));
  return typeFault(param, `one of ${[article(first), ...others].join(' or ')}`, value);
}

function rangeFault(
  issue: Extract<Issue, { code: 'too_big' | 'too_small' }>,
  param: string,
  value: unknown,
): VoiceError {
  const above = issue.code === 'too_big';
  const limit = Number(above ? issue.maximum : issue.minimum);
  if (issue.origin === 'array') return lengthFault('array', { param, value, above, limit });
  if (issue.origin === 'string') return lengthFault('string', { param, value, above, limit });
  const kind = INTEGERS.has(param) ? 'integer' : 'decimal';
  const bound = above
    ? 'above maximum value. Expected a value <='
    : 'below minimum value. Expected a value >=';
  return new VoiceError(`${kind}_${above ? 'above_max' : 'below_min'}_value`, {
    param,
    message: `Invalid '${param}': ${kind} ${bound} ${limit}, but got ${show(value)} instead.`,
  });
}

function lengthFault(
  kind: 'array' | 'string',
  { param, value, above, limit }: { param: string; value: unknown; above: boolean; limit: number },
): VoiceError {
  const { length } = value as string | unknown[];
  if (kind === 'array' && length === 0) {
    return new VoiceError('empty_array', {
      param,
      message: `Invalid '${param}': empty array. Expected an array with minimum length ${limit}, but got an empty array instead.`,
    });
  }
  const bound = above ? 'long' : 'short';
  const expected = `Expected ${article(kind)} with ${above ? 'maximum' : 'minimum'} length ${limit}`;
  return new VoiceError('invalid_value', {
    param,
    message: `Invalid '${param}': ${kind} too ${bound}. ${expected}, but got ${article(kind)} with length ${length} instead.`,
  });
}
