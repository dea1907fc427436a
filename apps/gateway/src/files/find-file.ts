import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { FileRecord } from '@antiphon/shared/files/file-record';
import type { GatewayContext } from '../gateway-context.ts';

/** Throws `file_not_found` for unknown, expired and foreign ones alike. */
export async function findFile(
  files: GatewayContext['files'],
  tenantId: string,
  fileId: string,
): Promise<FileRecord> {
  const file = await files.get(tenantId, fileId);
  if (!file) throw fileNotFound(fileId);
  return file;
}

/** `param`: where the client named it. */
export const fileNotFound = (fileId: string, param = 'id'): VoiceError =>
  new VoiceError('file_not_found', {
    param,
    message: `No such File object: ${fileId.slice(0, 100)}`,
  });
