import type { Redis } from 'ioredis';
import { CONTROL_CHANNEL } from './stream-key.ts';

/** What all processes hear. Lost messages cost little: `append` tells of an end, the directory is polled. */
export type ControlMessage =
  /** The stream ended or was stopped from outside: abort its engine calls. */
  | { type: 'stream-end'; streamId: string }
  /** The batch was cancelled or has expired: abort its lines. */
  | { type: 'batch-end'; batchId: string }
  /** A worker came or left: look at the registry. */
  | { type: 'worker-change' };

/** Subscribes to the control channel on a subscriber connection. Resolves when Redis has confirmed it. */
export async function subscribeControl(
  redis: Redis,
  receive: (message: ControlMessage) => void,
): Promise<void> {
  redis.on('message', (channel: string, message: string) => {
    const parsed = channel === CONTROL_CHANNEL ? parseControl(message) : undefined;
    if (parsed) receive(parsed);
  });
  await redis.subscribe(CONTROL_CHANNEL);
}

/** Undefined for what is no message of ours: an exception here would end the process. */
function parseControl(message: string): ControlMessage | undefined {
  try {
    return Object(JSON.parse(message)) as ControlMessage;
  } catch {
    return undefined;
  }
}

export async function publishControl(redis: Redis, message: ControlMessage): Promise<void> {
  await redis.publish(CONTROL_CHANNEL, JSON.stringify(message));
}
