import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { Context } from 'hono';
import type { z } from 'zod';
import type { GatewayEnv } from '../gateway-context.ts';
import { readBody, unsupportedContentType } from './request-body.ts';
import { requestFault } from './request-fault.ts';

/** Deeper bodies would crash recursive code (a million levels parse, but cannot be written again). */
const MAX_DEPTH = 64;
const FORBIDDEN_KEYS = new Set(['__proto__', 'constructor']);

export interface JsonBody {
  /** The bytes as they were sent, to be forwarded untouched. */
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
  const bytes = await readBody(c.env.incoming, maxBytes);
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
  const cleaned = cleanValue(value);
  return { text: cleaned ? JSON.stringify(value) : text, value: value as Record<string, unknown> };
}

/** Drops keys that would reach a prototype; level by level, so that depth costs no stack. */
function cleanValue(root: object): boolean {
  let cleaned = false;
  let level: object[] = [root];
  for (let depth = 0; level.length > 0; depth += 1) {
    if (depth > MAX_DEPTH) {
      throw new VoiceError('invalid_json', {
        message: `We could not parse the JSON body of your request: it is nested deeper than ${MAX_DEPTH} levels.`,
      });
    }
    const next: object[] = [];
    for (const value of level)
      cleaned = cleanKeys(value as Record<string, unknown>, next) || cleaned;
    level = next;
  }
  return cleaned;
}

/** Deletes an object's forbidden keys, and collects its children. Returns whether it deleted any. */
function cleanKeys(value: Record<string, unknown>, children: object[]): boolean {
  let cleaned = false;
  for (const key of Object.keys(value)) {
    const child = value[key];
    if (FORBIDDEN_KEYS.has(key)) {
      delete value[key];
      cleaned = true;
    } else if (typeof child === 'object' && child !== null) {
      children.push(child);
    }
  }
  return cleaned;
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
