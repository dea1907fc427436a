import type { Reply } from './reply.ts';
import type { ScriptedTranscript } from './script.ts';

const TEXT = { 'content-type': 'text/plain; charset=utf-8' };

/** Every format of `/v1/audio/transcriptions` and `/translations`; `stream=true` gives events. */
export async function answerTranscription(reply: Reply): Promise<void> {
  const { fields, files } = reply.request;
  const model = fields['model']?.[0];
  const format = fields['response_format']?.[0] ?? 'json';
  if (files['file']?.length !== 1 || model === undefined) {
    const param = model === undefined ? 'model' : 'file';
    await refuse(
      reply,
      param,
      'missing_required_parameter',
      `Missing required parameter: '${param}'.`,
    );
  } else if (model.startsWith('gpt-') && !['json', 'text'].includes(format)) {
    const message = `response_format '${format}' is not compatible with model '${model}'. Use 'json' or 'text' instead.`;
    await refuse(reply, 'response_format', 'unsupported_value', message);
  } else if (fields['stream']?.[0] === 'true' && model !== 'whisper-1') {
    await streamTranscript(reply);
  } else {
    await wholeTranscript(reply, format);
  }
}

async function refuse(reply: Reply, param: string, code: string, message: string): Promise<void> {
  await reply.json(400, { error: { message, type: 'invalid_request_error', param, code } });
}

async function wholeTranscript(reply: Reply, format: string): Promise<void> {
  await reply.wait(reply.script.tokenDelayMs);
  const body = transcriptBody(reply, format);
  if (body === undefined) {
    await refuse(reply, 'response_format', 'invalid_value', `Invalid value: '${format}'.`);
    return;
  }
  const type = typeof body === 'string' ? TEXT : { 'content-type': 'application/json' };
  await reply.head(200, type);
  const bytes = Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
  const half = bytes.byteLength >> 1;
  await reply.token(bytes.subarray(0, half));
  await reply.token(bytes.subarray(half));
  await reply.tokensDone();
  reply.end();
}

function transcriptBody(reply: Reply, format: string): object | string | undefined {
  const { transcript } = reply.script;
  const usage = { type: 'duration', seconds: Math.ceil(transcript.durationSeconds) };
  switch (format) {
    case 'json':
      return { text: transcript.text, usage };
    case 'text':
      return `${transcript.text}\n`;
    case 'srt':
      return subtitles(transcript, ',');
    case 'vtt':
      return `WEBVTT\n\n${subtitles(transcript, '.')}`;
    case 'verbose_json':
      return { ...verbose(reply, transcript), usage };
    default:
      return undefined;
  }
}

function verbose(reply: Reply, transcript: ScriptedTranscript): object {
  const asked = reply.request.fields['timestamp_granularities[]'] ?? ['segment'];
  const segments = transcript.segments.map(({ text, start, end }, id) => ({
    id,
    seek: 0,
    start,
    end,
    text,
    tokens: [1],
    temperature: 0,
    avg_logprob: -0.25,
    compression_ratio: 1,
    no_speech_prob: 0.01,
  }));
  return {
    task: reply.request.path.endsWith('/translations') ? 'translate' : 'transcribe',
    language: transcript.language,
    duration: transcript.durationSeconds,
    text: transcript.text,
    ...(asked.includes('word') ? { words: transcript.words } : {}),
    ...(asked.includes('segment') ? { segments } : {}),
  };
}

async function streamTranscript(reply: Reply): Promise<void> {
  const { text } = reply.script.transcript;
  const frame = (event: object): Buffer => Buffer.from(`data: ${JSON.stringify(event)}\n\n`);
  await reply.head(200, { 'content-type': 'text/event-stream; charset=utf-8' });
  for (const delta of text.match(/\s*\S+/g) ?? []) {
    await reply.token(frame({ type: 'transcript.text.delta', delta }));
  }
  await reply.tokensDone();
  const usage = { type: 'tokens', input_tokens: 1, output_tokens: 1, total_tokens: 2 };
  await reply.write(frame({ type: 'transcript.text.done', text, usage }));
  await reply.write(Buffer.from('data: [DONE]\n\n'));
  reply.end();
}

function subtitles({ segments }: ScriptedTranscript, point: ',' | '.'): string {
  return segments
    .map(({ text, start, end }, at) => {
      const number = point === ',' ? `${at + 1}\n` : '';
      return `${number}${clock(start, point)} --> ${clock(end, point)}\n${text.trim()}\n\n`;
    })
    .join('');
}

function clock(seconds: number, point: string): string {
  const ms = Math.round(seconds * 1000);
  const part = (value: number, width = 2): string => String(Math.floor(value)).padStart(width, '0');
  const time = `${part(ms / 3_600_000)}:${part((ms / 60_000) % 60)}:${part((ms / 1000) % 60)}`;
  return `${time}${point}${part(ms % 1000, 3)}`;
}
