import { VoiceError } from '../errors/voice-error.ts';

/** Redis refuses what needs memory (`maxmemory`); reading, deleting and publishing still work. */
export function isStorageFull(error: unknown): boolean {
  return error instanceof Error && /\bOOM\b/.test(error.message);
}

/** For `catch`: `storage_full` for a full Redis, everything else as it was. */
export function throwStorageFull(error: unknown): never {
  throw isStorageFull(error) ? new VoiceError('storage_full', { cause: error }) : error;
}
