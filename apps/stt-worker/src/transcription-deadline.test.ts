import type { RecordedAudio } from '@antiphon/shared/services/stt-service';
import { until } from '@antiphon/testing/until';
import { expect, it } from 'vitest';
import { TranscriptionDeadline } from './transcription-deadline.ts';

const audio = (seconds: number): RecordedAudio => ({
  format: 'wav',
  sizeBytes: 1,
  async *bytes() {
    yield new Uint8Array(1);
  },
  async *pcm(sampleRateHz) {
    for (let second = 0; second < seconds; second += 1) yield new Uint8Array(sampleRateHz * 2);
  },
});
const none = new AbortController().signal;

it('ends an engine that takes too long', async () => {
  const deadline = new TranscriptionDeadline(20);
  await until(() => deadline.signal.aborted);
  expect(deadline.signal.reason).toMatchObject({ code: 'stream_timeout' });
});

it('gives three times the audio that was decoded', async () => {
  const deadline = new TranscriptionDeadline(20);
  const short = new TranscriptionDeadline(20);
  for await (const _chunk of deadline.watch(audio(60)).pcm(16_000, none));
  await until(() => short.signal.aborted);
  expect(deadline.signal.aborted).toBe(false);
  deadline.clear();
});

it('gives a file that is sent as it is the time that its size may hold', async () => {
  const deadline = new TranscriptionDeadline(20);
  const short = new TranscriptionDeadline(20);
  deadline.watch({ ...audio(1), sizeBytes: 1_000_000 }).bytes();
  await until(() => short.signal.aborted);
  expect(deadline.signal.aborted).toBe(false);
  deadline.clear();
});
