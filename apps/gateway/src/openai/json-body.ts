import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { Context } from 'hono';
import type { z } from 'zod';
import type { GatewayEnv } from '../gateway-context.ts';
import { readBody, refuseEncoded, unsupportedContentType } from './request-body.ts';
import { requestFault } from './request-fault.ts';

/** Deeper bodies would crash recursive code (a million levels parse, but cannot be written again). */
const MAX_DEPTH = 64;
/**
 * 2000 messages with their parts and a hundred tools are some 20,000. Each costs time on the event
 * loop at every look: 25 MiB of zeros in one array held it for 5 s.
 */
const MAX_VALUES = 100_000;
const FORBIDDEN_KEYS = new Set(['__proto__', 'constructor']);

export interface JsonBody {
  /**
   * As it was sent, to be forwarded untouched, unless a key was dropped or given twice: what is
   * checked here and what an engine reads must be the same, and parsers choose differently.
   */
  text: string;
  value: Record<string, unknown>;
}

export const isJsonType = (contentType: string): boolean =>
  /^application\/(.+\+)?json\b/i.test(contentType);

/** Reads a JSON object. Throws `unsupported_content_type`, `request_too_large`, `invalid_json`. */
export async function readJsonBody(c: Context<GatewayEnv>, maxBytes: number): Promise<JsonBody> {
  const contentType = c.req.header('content-type') ?? '';
  if (contentType !== '' && !isJsonType(contentType)) {
    throw unsupportedContentType(contentType, "'application/json'");
  }
  refuseEncoded(c.env.incoming);
  const bytes = await readBody(c.env.incoming, maxBytes);
  return parseJsonObject(bytes);
}

/** A JSON object from its bytes. Throws `invalid_json`. */
export function parseJsonObject(bytes: Uint8Array): JsonBody {
  let text: string;
  let value: unknown;
  let keyCount: number;
  try {
    // A byte order mark stays, and is refused: JSON has none (RFC 8259, section 8.1).
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    keyCount = countKeys(text);
    value = JSON.parse(text);
  } catch (cause) {
    throw VoiceError.from(cause, 'invalid_json');
  }
  if (!isObject(value) || Array.isArray(value)) {
    throw new VoiceError('invalid_json', {
      message: 'We could not parse the JSON body of your request: it must be a JSON object.',
    });
  }
  const cleaning = cleanValue(value);
  const rewritten = cleaning.cleaned || cleaning.keyCount !== keyCount;
  return {
    text: rewritten ? JSON.stringify(value) : text,
    value: value as Record<string, unknown>,
  };
}

interface Cleaning {
  /** Whether a key was dropped. */
  cleaned: boolean;
  /** Keys of all objects, dropped ones included. */
  keyCount: number;
}

/** Drops keys that would reach a prototype; level by level, so that depth costs no stack. */
function cleanValue(root: object): Cleaning {
  const cleaning = { cleaned: false, keyCount: 0 };
  let level: object[] = [root];
  for (let depth = 0; level.length > 0; depth += 1) {
    if (depth > MAX_DEPTH) {
      throw new VoiceError('invalid_json', {
        message: `We could not parse the JSON body of your request: it is nested deeper than ${MAX_DEPTH} levels.`,
      });
    }
    const next: object[] = [];
    for (const value of level) cleanKeys(value, next, cleaning);
    level = next;
  }
  return cleaning;
}

/** Deletes an object's forbidden keys, and collects the children of what can have some. */
function cleanKeys(value: object, children: object[], cleaning: Cleaning): void {
  if (Array.isArray(value)) {
    // Not by keys: those of an array are texts that are made for this.
    for (const child of value as unknown[]) if (isObject(child)) children.push(child);
    return;
  }
  const fields = value as Record<string, unknown>;
  const keys = Object.keys(fields);
  cleaning.keyCount += keys.length;
  for (const key of keys) {
    const child = fields[key];
    if (FORBIDDEN_KEYS.has(key)) {
      delete fields[key];
      cleaning.cleaned = true;
    } else if (isObject(child)) {
      children.push(child);
    }
  }
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null;

/**
 * Keys as JSON has them written: one given twice counts twice. Before it is parsed, and over strings
 * by leaps: 25 MB of base64 take 2 ms. Throws `invalid_json` where there are too many values.
 */
function countKeys(json: string): number {
  let [keyCount, valueCount] = [0, 1];
  for (let at = 0; at < json.length; at += 1) {
    const mark = json[at];
    if (mark === '"') at = closingQuote(json, at + 1);
    else if (mark === ':') keyCount += 1;
    else if (mark === ',' || mark === '[' || mark === '{') valueCount += 1;
    if (valueCount > MAX_VALUES) throw tooManyValues();
  }
  return keyCount;
}

const tooManyValues = (): VoiceError =>
  new VoiceError('invalid_json', {
    message: `We could not parse the JSON body of your request: it has more than ${MAX_VALUES} values.`,
  });

/** A quote behind an even number of backslashes ends its string. */
function closingQuote(json: string, from: number): number {
  for (let end = json.indexOf('"', from); end >= 0; end = json.indexOf('"', end + 1)) {
    let slashes = 0;
    while (json[end - 1 - slashes] === '\\') slashes += 1;
    if (slashes % 2 === 0) return end;
  }
  return json.length;
}

/** Parses by a schema, with OpenAI's words for what is wrong. */
export function parseBody<Schema extends z.ZodType>(
  schema: Schema,
  body: unknown,
): z.output<Schema> {
  const parsed = schema.safeParse(body);
  if (!parsed.success) throw requestFault(parsed.error, body);
  return parsed.data;
}
