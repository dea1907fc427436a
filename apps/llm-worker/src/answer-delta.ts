import { VoiceError } from '@antiphon/shared/errors/voice-error';

/** What one chunk adds to choice 0. */
export interface AnswerDelta {
  /** Text to be spoken. */
  content: string;
  /** The rest of OpenAI's `delta` (tool calls, refusal, reasoning), where there is any. */
  shown: Record<string, unknown> | undefined;
}

const DATA = 'data:';

/**
 * The deltas of ready SSE frames (`ChatEvent` `chunk-frames`). Throws `upstream_protocol` for a
 * frame that is no JSON: the text of a spoken answer must be understood, not just passed on.
 */
export function readAnswerDeltas(frames: Uint8Array): AnswerDelta[] {
  const text = Buffer.from(frames.buffer, frames.byteOffset, frames.byteLength).toString('utf8');
  return text.split('\n\n').flatMap((frame) => {
    if (!frame.startsWith(DATA)) return [];
    const delta = deltaOf(frame.slice(DATA.length));
    return delta ? [delta] : [];
  });
}

function deltaOf(json: string): AnswerDelta | undefined {
  const choices = parse(json).choices;
  const choice = Array.isArray(choices)
    ? choices.map(Object).find(({ index }: { index?: unknown }) => (index ?? 0) === 0)
    : undefined;
  if (!choice) return undefined;
  const { content, role: _role, ...rest } = Object(choice.delta) as Record<string, unknown>;
  const shown = Object.entries(rest).filter(([, value]) => value !== null && value !== undefined);
  return {
    content: typeof content === 'string' ? content : '',
    shown: shown.length > 0 ? Object.fromEntries(shown) : undefined,
  };
}

function parse(json: string): { choices?: unknown } {
  try {
    return Object(JSON.parse(json)) as { choices?: unknown };
  } catch (cause) {
    throw new VoiceError('upstream_protocol', { cause });
  }
}
