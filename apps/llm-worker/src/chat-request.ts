import { buffer } from 'node:stream/consumers';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { ChatEvent } from '@antiphon/shared/services/ai-service';
import type { BlobStore } from '@antiphon/shared/storage/blob-store';

/** Where the body of a request is: with its job or, when it is large, in a blob store. */
export interface SentRequest {
  requestJson?: string | undefined;
  requestBlobId?: string | undefined;
}

/** Throws `internal_error` when it is nowhere. */
export async function readRequest(sent: SentRequest, blobs: BlobStore): Promise<string> {
  const { requestJson, requestBlobId } = sent;
  if (requestJson !== undefined) return requestJson;
  const blob = requestBlobId === undefined ? undefined : await blobs.get(requestBlobId);
  if (!blob) {
    throw new VoiceError('internal_error', {
      cause: `the request body ${requestBlobId ?? ''} is missing`,
    });
  }
  return (await buffer(blob)).toString('utf8');
}

export type FinishEvent = Extract<ChatEvent, { type: 'finish' }>;

/** An answer without a finish is `upstream_protocol`, never a short success. */
export function requireFinish(finish: FinishEvent | undefined): FinishEvent {
  if (finish) return finish;
  throw new VoiceError('upstream_protocol', {
    message: 'The answer ended without a finish reason.',
  });
}
