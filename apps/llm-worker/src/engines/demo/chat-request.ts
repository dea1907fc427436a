import { VoiceError } from '@antiphon/shared/errors/voice-error';

/** What the demo model understands of a request. */
export interface DemoRequest {
  /** Text of the last user message. */
  prompt: string;
  /** Characters of all messages. */
  promptCharacters: number;
  /** Tokens the answer may have; Infinity when not limited. */
  maxTokens: number;
  stop: string[];
  /** `response_format: {type: 'json_object'}`. */
  asJson: boolean;
}

type Json = Record<string, unknown>;

/**
 * Reads the body of a chat request. What a rule-based model cannot do is refused with the name of
 * the parameter, never ignored; sampling parameters have nothing to act on and are accepted.
 */
export function parseDemoRequest(requestJson: string): DemoRequest {
  const body = parseBody(requestJson);
  refuseUnsupported(body);
  const messages = Array.isArray(body['messages']) ? body['messages'].filter(isRecord) : [];
  const lastUser = messages.findLastIndex(({ role }) => role === 'user');
  const texts = messages.map(({ content }, index) =>
    textOf(content, `messages[${index}].content`, index === lastUser),
  );
  return {
    prompt: texts.at(lastUser) ?? '',
    promptCharacters: texts.reduce((sum, text) => sum + text.length, 0),
    maxTokens: maxTokensOf(body),
    stop: stopsOf(body['stop']),
    asJson: isRecord(body['response_format']) && body['response_format']['type'] === 'json_object',
  };
}

function parseBody(requestJson: string): Json {
  try {
    const body: unknown = JSON.parse(requestJson);
    if (isRecord(body)) return body;
  } catch {
    // Told below: a body that is no object is as wrong.
  }
  throw new VoiceError('invalid_json');
}

function refuseUnsupported(body: Json): void {
  if (typeof body['n'] === 'number' && body['n'] > 1) {
    throw unsupported('n', `the demo model gives one answer, not ${body['n']}`, 'value');
  }
  for (const name of ['tools', 'functions']) {
    const value = body[name];
    if (Array.isArray(value) && value.length > 0 && body['tool_choice'] !== 'none') {
      throw unsupported(name, 'the demo model cannot call tools');
    }
  }
  if (body['logprobs'] === true) {
    throw unsupported('logprobs', 'the demo model follows rules and has no probabilities');
  }
  const format = body['response_format'];
  if (isRecord(format) && format['type'] === 'json_schema') {
    throw unsupported('response_format', 'the demo model knows text and json_object', 'value');
  }
}

function unsupported(param: string, why: string, what: 'value' | 'parameter' = 'parameter') {
  return new VoiceError(`unsupported_${what}`, {
    message: `'${param}' is not supported here: ${why}. Set AI_SERVICE=openai for a real model.`,
    param,
  });
}

/** Parts other than text are refused in the message that is answered, and skipped in older ones. */
function textOf(content: unknown, param: string, isAnswered: boolean): string {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) return '';
  const texts: string[] = [];
  for (const [index, part] of content.entries()) {
    if (!isRecord(part)) continue;
    if (part['type'] === 'text' && typeof part['text'] === 'string') texts.push(part['text']);
    else if (isAnswered) throw senseless(String(part['type']), `${param}[${index}]`);
  }
  return texts.join('\n');
}

const SENSES: Record<string, string> = {
  image_url: 'cannot see images',
  input_audio: 'cannot hear audio by itself',
  file: 'cannot read files',
};

function senseless(type: string, param: string): VoiceError {
  const why = SENSES[type] ?? `does not know parts of type '${type}'`;
  return new VoiceError('unsupported_value', {
    message: `The demo model ${why}. Set AI_SERVICE=openai for a real model.`,
    param,
  });
}

function maxTokensOf(body: Json): number {
  const param = body['max_completion_tokens'] == null ? 'max_tokens' : 'max_completion_tokens';
  const value = body[param];
  if (value === undefined || value === null) return Infinity;
  if (typeof value !== 'number' || !Number.isInteger(value)) {
    const message = `Invalid type for '${param}': expected an integer.`;
    throw new VoiceError('invalid_type', { message, param });
  }
  if (value < 1) {
    const message = `Invalid '${param}': integer below minimum value. Expected a value >= 1, but got ${value} instead.`;
    throw new VoiceError('integer_below_min_value', { message, param });
  }
  return value;
}

function stopsOf(value: unknown): string[] {
  const stops = typeof value === 'string' ? [value] : Array.isArray(value) ? value : [];
  return stops.filter((stop): stop is string => typeof stop === 'string' && stop !== '');
}

function isRecord(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
