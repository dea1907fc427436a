import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { GatewayContext } from '../gateway-context.ts';
import { type Kept, keptSchema } from '../replies/kept-stream.ts';
import { throwUnavailable } from './stop-streams.ts';

/** A stream that may be read again. */
export interface KeptAnswer {
  kept: Kept;
  status: string;
  /** The highest number in its log. */
  seq: number;
}

/** Throws `stream_not_found` for unknown and foreign ones alike, `stream_not_resumable`. */
export async function findKept(
  { tenantStreams }: GatewayContext,
  tenantId: string,
  streamId: string,
): Promise<KeptAnswer> {
  const state = await tenantStreams
    .state(tenantId, streamId, ['status', 'seq', 'kept'])
    .catch(throwUnavailable);
  if (!state) throw new VoiceError('stream_not_found');
  const { kept, status = '', seq } = state;
  if (kept === undefined) throw new VoiceError('stream_not_resumable');
  return { kept: keptSchema.parse(JSON.parse(kept)), status, seq: Number(seq) };
}
