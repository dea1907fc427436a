import type { VoiceError } from '@antiphon/shared/errors/voice-error';
import { z } from 'zod';
import { requestFault } from './request-fault.ts';

/** The first fault of something inside the messages, with its whole path as `param`. */
export function messageFault(
  error: z.ZodError,
  messages: readonly Record<string, unknown>[],
  place: readonly (string | number)[],
): VoiceError {
  const issues = error.issues.map((issue) => ({
    ...issue,
    path: ['messages', ...place, ...issue.path],
  }));
  return requestFault(new z.ZodError(issues), { messages });
}
