import { VoiceError } from '../errors/voice-error.ts';
import { isStorageFull } from '../streams/storage-full.ts';

/** For `catch`: `storage_full` for a Redis without memory, `queue_unavailable` for one that does not answer. */
export function throwStoreFault(cause: unknown): never {
  const code = isStorageFull(cause) ? 'storage_full' : 'queue_unavailable';
  throw new VoiceError(code, { cause, retryAfterSeconds: 1 });
}
