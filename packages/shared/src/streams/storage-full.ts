import { VoiceError } from '../errors/voice-error.ts';

/** Redis refuses what needs memory (`maxmemory`); reading, deleting and publishing still work. */
export function isStorageFull(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  // A transaction is refused as a whole, and its own error only says that there were others.
  const { previousErrors = [] } = error as { previousErrors?: unknown[] };
  return /\bOOM\b/.test(error.message) || previousErrors.some(isStorageFull);
}

/** For `catch`: `storage_full` for a full Redis, everything else as it was. */
export function throwRedisFull(error: unknown): never {
  throw isStorageFull(error) ? new VoiceError('storage_full', { cause: error }) : error;
}
