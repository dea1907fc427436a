import { Readable } from 'node:stream';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { QueuedJob } from '@antiphon/shared/queue/job-producer';
import type { BlobStore } from '@antiphon/shared/storage/blob-store';
import type { TranscriptStore } from '@antiphon/shared/storage/transcript-store';
import type { GatewayContext } from '../gateway-context.ts';
import type { Route } from '../models/worker-directory.ts';
import type { AudioPart } from '../openai/audio-parts.ts';

/** Most transcriptions that one request may start. */
export const MAX_NEW_RECORDINGS = 32;

export interface ChatRecordingsOptions {
  parts: readonly AudioPart[];
  /** Who transcribes. */
  route: Route;
  tenantId: string;
  transcripts: TranscriptStore;
}

/** The recordings of one request, on their way to the stt-worker. */
export interface ChatRecordings {
  /** Where the transcript of a part is, or will be; for `replaceAudioParts`. */
  keyOf: (part: AudioPart) => string;
  /** Of what was heard before; the others tell theirs by `transcript-end`. */
  heardSeconds: number;
  /** One for each recording that nobody has heard yet: the children of the chat job. */
  jobsOf: (streamId: string) => QueuedJob<'transcription'>[];
  /** Deletes what was stored; when the stream is over. */
  delete: () => Promise<void>;
}

/**
 * Looks up which recordings were heard in earlier turns, and puts the others into the blob store,
 * each content once. Throws `invalid_value` (too many new ones), `queue_unavailable`; then nothing
 * stays in the store.
 */
export async function storeChatRecordings(
  { config, blobs, gatewayId }: Pick<GatewayContext, 'config' | 'blobs' | 'gatewayId'>,
  { parts, route, tenantId, transcripts }: ChatRecordingsOptions,
): Promise<ChatRecordings> {
  const { model, worker } = route;
  const keyOf = ({ sha256 }: AudioPart) => transcripts.keyOf({ tenantId, model, sha256 });
  // The stream must not outlive what it is going to read.
  const keepMs = Math.max(config.AUDIO_ID_TTL_MS, config.TOTAL_TIMEOUT_MS);
  const byKey = new Map(parts.map((part) => [keyOf(part), part]));
  const heard = await transcripts.find([...byKey.keys()], keepMs);
  const unheard = [...byKey].filter((_, index) => heard[index] === undefined);
  if (unheard.length > MAX_NEW_RECORDINGS) throw tooMany(unheard.length);
  const stored = await storeAll(unheard, blobs);
  const { MAX_AUDIO_SECONDS: maxAudioSeconds } = config;
  return {
    keyOf,
    heardSeconds: heard.reduce((sum, transcript) => sum + (transcript?.durationSeconds ?? 0), 0),
    jobsOf: (streamId) =>
      stored.map(({ transcriptKey, param, ...file }, partIndex) => ({
        queueName: worker.queueName,
        jobId: `${streamId}-t${partIndex}`,
        data: {
          ...{ version: 1 as const, streamId, tenantId, gatewayId, model, ...file },
          ...{ operation: 'transcribe' as const, wordTimes: false, maxAudioSeconds },
          chatPart: { partIndex, transcriptKey, keepMs, param },
        },
      })),
    async delete() {
      await Promise.all(stored.map(({ blobId }) => blobs.delete(blobId)));
    },
  };
}

const tooMany = (count: number): VoiceError =>
  new VoiceError('invalid_value', {
    param: 'messages',
    message: `Invalid 'messages': too many recordings that were not heard before. Expected at most ${MAX_NEW_RECORDINGS}, but got ${count} instead. Send the text of some of them.`,
  });

async function storeAll(unheard: readonly [string, AudioPart][], blobs: BlobStore) {
  const puts = await Promise.allSettled(
    unheard.map(async ([transcriptKey, { bytes, format, param }]) => {
      const { blobId, sizeBytes } = await blobs.put(Readable.from([bytes]));
      return { transcriptKey, param, blobId, format, sizeBytes };
    }),
  );
  const stored = puts.flatMap((put) => (put.status === 'fulfilled' ? [put.value] : []));
  const failed = puts.find((put) => put.status === 'rejected');
  if (!failed) return stored;
  await Promise.all(stored.map(({ blobId }) => blobs.delete(blobId)));
  throw failed.reason;
}
