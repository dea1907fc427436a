import type { GatewayConfig } from '../config.ts';

/** So many times `MAX_LOG_BYTES`: 64 MiB by default, 23 minutes of sound as it lies in the log. */
const MOST_LOGS = 4;

/** Of an answer that is not given away piece by piece, but kept or put together here: bytes at most. */
export const largestAnswerBytes = ({
  MAX_LOG_BYTES,
}: Pick<GatewayConfig, 'MAX_LOG_BYTES'>): number => MAX_LOG_BYTES * MOST_LOGS;
