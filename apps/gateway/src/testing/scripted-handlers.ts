import type { JobHandler } from '@antiphon/shared/queue/job-worker';

const frame = (choices: object[]): string =>
  `data: ${JSON.stringify({ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'scripted', choices })}\n\n`;

/** One SSE frame with a piece of text. */
export const chatFrame = (content: string): Uint8Array =>
  Buffer.from(frame([{ index: 0, delta: { content }, finish_reason: null }]));

/** An llm-worker that says `text`, as chunks or as one JSON answer. */
export function answerChat(text: string): JobHandler<'chat'> {
  return async ({ job, producer, signal }) => {
    const whole = {
      ...{ id: 'chatcmpl-1', object: 'chat.completion', created: 1, model: job.model },
      choices: [{ index: 0, message: { role: 'assistant', content: text }, finish_reason: 'stop' }],
    };
    const end = Buffer.from(frame([{ index: 0, delta: {}, finish_reason: 'stop' }]));
    const bytes = job.stream
      ? Buffer.concat([chatFrame(text), end])
      : Buffer.from(JSON.stringify(whole));
    await producer.append({ type: 'text-delta', bytes }, { signal });
    await producer.append({ type: 'text-end', finishReason: 'stop' }, { ends: 'stream', signal });
  };
}

/** An llm-worker whose answer is spoken: one phrase after the other, a blank between them. */
export function speakPhrases(texts: readonly string[]): JobHandler<'chat'> {
  return async ({ producer, signal }) => {
    for (const [phraseIndex, text] of texts.entries()) {
      const before = phraseIndex === 0 ? '' : ' ';
      await producer.append(
        { type: 'phrase-start', phraseIndex, text, before },
        { phrase: { phraseIndex, body: { text } }, signal },
      );
    }
    const phraseCount = texts.length;
    const answer = texts.join(' ');
    await producer.append(
      { type: 'text-end', finishReason: 'stop', phraseCount, answer },
      { ends: 'text', phraseCount, signal },
    );
  };
}

/** A tts-worker that says half a second of silence for every phrase. */
export const speakSilence: JobHandler<'speech'> = async ({ job, producer, signal }) => {
  const { phraseIndex } = job;
  await producer.append(
    { type: 'audio-delta', phraseIndex, chunkIndex: 0, pcm: new Uint8Array(24_000) },
    { samples: 12_000, signal },
  );
  await producer.append({ type: 'audio-end', phraseIndex }, { ends: 'phrase', signal });
};

/** An stt-worker that hears one segment in whatever it is given. */
export const hearOneSegment: JobHandler<'transcription'> = async ({ job, producer, signal }) => {
  const times = { startSeconds: 0, endSeconds: 1.5 };
  await producer.append(
    {
      type: 'transcript-delta',
      segment: { text: 'Good morning.', ...times },
      ...(job.wordTimes ? { words: [{ word: 'Good', startSeconds: 0, endSeconds: 0.5 }] } : {}),
    },
    { signal },
  );
  await producer.append(
    { type: 'transcript-end', language: job.language ?? 'en', durationSeconds: 1.5 },
    { ends: 'stream', signal },
  );
};
