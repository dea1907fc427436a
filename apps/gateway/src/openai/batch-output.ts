import { createHash } from 'node:crypto';
import { CONTENT_TYPES } from '@antiphon/shared/audio/audio-format';
import type { UndoneCode } from '@antiphon/shared/batches/batch-fault';
import type { BatchEndpoint, BatchUsage } from '@antiphon/shared/batches/batch-record';
import type { LineResult } from '@antiphon/shared/batches/line-result';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { formFields } from './json-upload.ts';
import { formatTranscript } from './transcript-format.ts';
import { parseTranscriptionForm } from './transcription-form.ts';

/** A result that is not stored elsewhere. */
export type InlineResult = Exclude<LineResult, { type: 'stored' }>;

/** Why a line has no result. */
export const UNDONE = {
  cancelled: {
    code: 'batch_cancelled',
    message: 'This line was not done before its batch was cancelled.',
  },
  expired: {
    code: 'batch_expired',
    message: 'This line was not done before its batch expired.',
  },
} as const satisfies Record<string, { code: UndoneCode; message: string }>;

export interface LineAnswer {
  batchId: string;
  /** From 0. */
  line: number;
  customId: string;
  endpoint: BatchEndpoint;
  /** Of the request: a transcript is told as it asks. */
  body: Record<string, unknown>;
  result: InlineResult | (typeof UNDONE)['cancelled' | 'expired'];
}

export interface OutputLine {
  /** With its line feed. */
  text: string;
  /** Which file it belongs to. */
  isError: boolean;
  usage?: BatchUsage;
}

/** One line of a batch's output or error file (contract, section 8). */
export function outputLine(answer: LineAnswer): OutputLine {
  const { batchId, line, customId, result } = answer;
  const hash = createHash('sha256').update(`${batchId}\n${line}`).digest('hex').slice(0, 32);
  const write = (response: object | null, error: object | null): string =>
    `${JSON.stringify({ id: `batch_req_${hash}`, custom_id: customId, response, error })}\n`;
  if (!('type' in result)) return { text: write(null, result), isError: true };
  const { statusCode, body, usage } = responseOf(answer, result);
  const response = { status_code: statusCode, request_id: `req_${hash}`, body };
  return { text: write(response, null), isError: statusCode >= 400, ...(usage ? { usage } : {}) };
}

interface LineResponse {
  statusCode: number;
  body: unknown;
  usage?: BatchUsage | undefined;
}

function responseOf(answer: LineAnswer, result: InlineResult): LineResponse {
  switch (result.type) {
    case 'speech':
      return { statusCode: 200, body: describeSpeech(result) };
    case 'transcript':
      return { statusCode: 200, body: describeTranscript(answer, result) };
    case 'completion':
      return describeCompletion(result.body);
    case 'error': {
      const error = VoiceError.deserialize(result.error);
      return { statusCode: error.definition.status, body: error.toBody() };
    }
  }
}

type Spoken = Extract<InlineResult, { type: 'speech' }>;

const describeSpeech = ({ model, voice, format, bytes, durationMs, fileId }: Spoken) => ({
  object: 'audio.speech',
  ...{ model, voice, format, content_type: CONTENT_TYPES[format], bytes },
  duration_ms: durationMs,
  file_id: fileId,
});

/** What is no JSON by itself (srt, vtt, text) stands in `text`, as it is in `json`. */
function describeTranscript(
  { body, endpoint }: LineAnswer,
  transcript: Extract<InlineResult, { type: 'transcript' }>,
): unknown {
  const { response_format: format, timestamp_granularities: granularities } =
    parseTranscriptionForm(formFields(body));
  const operation = endpoint === '/v1/audio/translations' ? 'translate' : 'transcribe';
  const formatted = formatTranscript(transcript, { format, granularities, operation });
  return formatted.contentType === 'application/json'
    ? JSON.parse(formatted.body)
    : { text: formatted.body, content_type: formatted.contentType };
}

/** Written anew: an upstream may have sent it over many lines. */
function describeCompletion(json: string): LineResponse {
  const body = JSON.parse(json) as { usage?: unknown };
  const { prompt_tokens: inputTokens, completion_tokens: outputTokens } = Object(body.usage);
  const counts = typeof inputTokens === 'number' && typeof outputTokens === 'number';
  return { statusCode: 200, body, usage: counts ? { inputTokens, outputTokens } : undefined };
}
