import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { Context } from 'hono';
import type { z } from 'zod';
import type { GatewayEnv } from '../gateway-context.ts';
import { readBody, refuseEncoded, unsupportedContentType } from './request-body.ts';
import { requestFault } from './request-fault.ts';

/** Deeper bodies would crash recursive code (a million levels parse, but cannot be written again). */
const MAX_DEPTH = 64;
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
  try {
    // A byte order mark stays, and is refused: JSON has none (RFC 8259, section 8.1).
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    value = JSON.parse(text);
  } catch (cause) {
    throw new VoiceError('invalid_json', { cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new VoiceError('invalid_json', {
      message: 'We could not parse the JSON body of your request: it must be a JSON object.',
    });
  }
  const { cleaned, keyCount } = cleanValue(value);
  const rewritten = cleaned || countKeys(text) !== keyCount;
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
    for (const value of level) cleanKeys(value as Record<string, unknown>, next, cleaning);
    level = next;
  }
  return cleaning;
}

/** Deletes an object's forbidden keys, and collects its children. */
function cleanKeys(value: Record<string, unknown>, children: object[], cleaning: Cleaning): void {
  const keys = Object.keys(value);
  if (!Array.isArray(value)) cleaning.keyCount += keys.length;
  for (const key of keys) {
    const child = value[key];
    if (FORBIDDEN_KEYS.has(key)) {
      delete value[key];
      cleaning.cleaned = true;
    } else if (typeof child === 'object' && child !== null) {
      children.push(child);
    }
  }
}

const COLON_NEXT = /[ \t\n\r]*:/y;

/** Keys as valid JSON has them written: one given twice counts twice. 25 MB of base64 take 2 ms. */
function countKeys(json: string): number {
  let count = 0;
  for (let start = json.indexOf('"'); start >= 0; start = json.indexOf('"', start)) {
    const end = closingQuote(json, start + 1);
    COLON_NEXT.lastIndex = end + 1;
    if (COLON_NEXT.test(json)) count += 1;
    start = end + 1;
  }
  return count;
}

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
