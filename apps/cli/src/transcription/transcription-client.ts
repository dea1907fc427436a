import type { TranscriptionStreamEvent } from 'openai/resources/audio/transcriptions';
import { Stream } from 'openai/streaming';
import type { Api } from '../api.ts';
import { BrokenAnswer } from '../api-failure.ts';
import type { ModelChoice } from '../model-choice.ts';

export const TRANSCRIPT_FORMATS = ['text', 'json', 'srt', 'vtt', 'verbose_json'] as const;
export type TranscriptFormat = (typeof TRANSCRIPT_FORMATS)[number];

export interface TranscriptionRequest {
  file: File;
  format: TranscriptFormat;
  language?: string;
  /** Shows the words while they are recognised, where the server can. */
  stream: boolean;
}

/**
 * Transcribes one file and shows the result, ended by a line break. Rejects with what the SDK
 * throws, or BrokenAnswer.
 */
export async function transcribeFile(
  { client }: Api,
  model: ModelChoice,
  { file, format, language, stream }: TranscriptionRequest,
  { show, signal }: { show: (text: string) => void; signal: AbortSignal },
): Promise<void> {
  const response = await model.call((name) => {
    const form = new FormData();
    form.set('file', file, file.name);
    form.set('response_format', stream ? 'json' : format);
    if (name !== undefined) form.set('model', name);
    if (language !== undefined) form.set('language', language);
    if (stream) form.set('stream', 'true');
    return client.post('/audio/transcriptions', { body: form, signal }).asResponse();
  }, signal);
  const type = response.headers.get('content-type') ?? '';
  if (type.startsWith('text/event-stream')) await showEvents(response, { show, signal });
  else if (stream || format === 'text') showLine(textIn(await response.text()), show);
  else showLine(await response.text(), show);
}

async function showEvents(
  response: Response,
  { show, signal }: { show: (text: string) => void; signal: AbortSignal },
): Promise<void> {
  const controller = new AbortController();
  const events = Stream.fromSSEResponse<TranscriptionStreamEvent>(response, controller);
  const abort = (): void => controller.abort();
  signal.addEventListener('abort', abort, { once: true });
  let shown = '';
  let whole = false;
  try {
    for await (const event of events) {
      whole ||= event.type === 'transcript.text.done';
      const text = textOf(event, shown);
      shown += text;
      show(text);
    }
  } finally {
    signal.removeEventListener('abort', abort);
    show('\n');
  }
  if (!whole && !signal.aborted) throw new BrokenAnswer('the transcript broke off before its end');
}

/** Some servers send the text at the end alone. */
function textOf(event: TranscriptionStreamEvent, shown: string): string {
  if (event.type === 'transcript.text.delta') return event.delta;
  return event.type === 'transcript.text.done' && shown === '' ? event.text : '';
}

/** Some servers answer JSON whatever the format. */
function textIn(body: string): string {
  if (!body.trimStart().startsWith('{')) return body;
  try {
    const { text } = JSON.parse(body) as { text?: unknown };
    return typeof text === 'string' ? text : body;
  } catch {
    return body;
  }
}

function showLine(text: string, show: (text: string) => void): void {
  show(text.endsWith('\n') ? text : `${text}\n`);
}
