import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { Deadlines } from '@antiphon/shared/jobs/job-catalog';
import type { GatewayContext } from '../gateway-context.ts';
import { type ClientConnection, ClientLeft } from './client-connection.ts';
import type { Kept } from './kept-stream.ts';
import { type OpenedStream, subscribeWhile } from './open-stream.ts';
import { WatchedStream } from './watched-stream.ts';

/** Its keeper holds it to its deadlines; a client of a stream without a keeper still hears an end. */
const KEEPER_SLACK_MS = 30_000;

const deadlinesOf = ({ deadlines }: Kept): Deadlines => ({
  queueMs: Infinity,
  firstEventMs: Infinity,
  idleMs: Infinity,
  totalMs: deadlines.totalMs + KEEPER_SLACK_MS,
});

export interface FollowOptions {
  connection: ClientConnection;
  kept: Kept;
  follower: 'first' | 'again';
}

/**
 * Reads a kept stream for one client, from its start: running, or ended as long as its log lives.
 * Throws `queue_unavailable`.
 */
export async function followStream(
  context: GatewayContext,
  streamId: string,
  { connection, kept, follower }: FollowOptions,
): Promise<OpenedStream> {
  const reader = await subscribeWhile(context, streamId, []);
  if (connection.left.aborted) {
    reader.close();
    throw new ClientLeft();
  }
  reader.catchUp();
  const unfollow = context.keepers.follow(streamId, reader);
  const watched = new WatchedStream(reader, deadlinesOf(kept), kept.route, { role: 'follower' });
  context.watch.add(watched);
  reader.onStop = () => connection.stop(new VoiceError('stream_cancelled'));
  const leave = () => reader.close();
  connection.left.addEventListener('abort', leave, { once: true });
  const close = async () => {
    connection.left.removeEventListener('abort', leave);
    context.watch.delete(watched);
    reader.close();
    unfollow();
  };
  return { streamId, reader, watched, follower, close };
}
