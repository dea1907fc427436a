import {
  AUDIO_FORMATS,
  type AudioFormat,
  CONTENT_TYPES,
} from '@antiphon/shared/audio/audio-format';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import type { Context, Handler } from 'hono';
import type { GatewayContext, GatewayEnv } from '../gateway-context.ts';
import type { Answer } from '../replies/answer.ts';
import { type ByteRange, chooseRange, readRange } from '../replies/byte-range.ts';
import { ClientConnection, ClientLeft } from '../replies/client-connection.ts';
import { followStream } from '../replies/follow-stream.ts';
import { replySpeech } from '../replies/speech-reply.ts';
import { type StoredSound, StoredLengths, sliceStored } from '../replies/stored-sound.ts';
import { withEncoder } from '../replies/with-encoder.ts';
import { type KeptAnswer, findKept } from '../streams/kept-answer.ts';
import { inReaderPlace } from '../streams/stream-reader-place.ts';
import { answerOpened } from '../streams/answer-by-stream.ts';

type SoundAnswer = Extract<Answer, { format: AudioFormat }>;

/**
 * `GET /v1/streams/{id}/audio`: the sound again, made anew from the log. Of a finished stream any
 * `Range` of it; of one that still runs all of it as it comes, or a range of what is there.
 */
export function streamAudio(context: GatewayContext): Handler<GatewayEnv, '/:id'> {
  const lengths = new StoredLengths();
  return async (c) => {
    const streamId = c.req.param('id');
    const found = await findKept(context, c.get('tenantId'), streamId);
    const answer = soundOf(found.kept.answer);
    const format = readFormat(c, answer);
    const writeStallMs = context.config.WRITE_STALL_TIMEOUT_MS;
    const connection = new ClientConnection(c.env.outgoing, { writeStallMs });
    const ended = found.status === 'done';
    const range = readRange(c, `"${streamId}-${format}"`);
    return inReaderPlace(c, context, () => {
      if (!ended && chooseRange(range, Infinity) === 'whole') {
        return follow(c, context, { streamId, found, answer, format, connection });
      }
      const sound = { log: context.log, streamId, toSeq: found.seq, format, ended };
      return sendStored(c, { sound, range, connection, lengths });
    });
  };
}

interface FollowedSound {
  streamId: string;
  found: KeptAnswer;
  answer: SoundAnswer;
  format: AudioFormat;
  connection: ClientConnection;
}

/** To its end, whichever that is. */
async function follow(
  c: Context<GatewayEnv>,
  context: GatewayContext,
  { streamId, found, answer, format, connection }: FollowedSound,
): Promise<Response> {
  const { kept } = found;
  const opened = await followStream(context, streamId, { connection, kept, follower: 'again' });
  const phraseCount = answer.type === 'speech' ? answer.phraseCount : 0;
  return withEncoder(format, (start) =>
    answerOpened(c, { context, opened, connection }, async (response) => {
      const encoder = await start();
      await replySpeech(context, opened, response, { encoder, phraseCount, inputCharacters: 0 });
    }),
  );
}

interface Sending {
  sound: StoredSound;
  range: string | undefined;
  connection: ClientConnection;
  lengths: StoredLengths;
}

async function sendStored(
  c: Context<GatewayEnv>,
  { sound, range, connection, lengths }: Sending,
): Promise<Response> {
  const { streamId, format, ended } = sound;
  const totalBytes = await lengths.count(sound, connection.left);
  const chosen = chooseRange(range, totalBytes);
  if (chosen === 'none') {
    if (ended) c.header('content-range', `bytes */${totalBytes}`);
    throw new VoiceError('range_not_satisfiable', {
      message: `The sound of this stream has ${totalBytes} bytes${ended ? '' : ' so far'}.`,
    });
  }
  const isWhole = chosen === 'whole';
  const { start, end }: ByteRange = isWhole ? { start: 0, end: totalBytes - 1 } : chosen;
  const partHeaders = { 'content-range': `bytes ${start}-${end}/${ended ? totalBytes : '*'}` };
  connection.start(isWhole ? 200 : 206, {
    'content-type': CONTENT_TYPES[format],
    'content-length': String(end - start + 1),
    'accept-ranges': 'bytes',
    'cache-control': 'no-store',
    etag: `"${streamId}-${format}"`,
    'x-content-type-options': 'nosniff',
    'x-request-id': c.get('requestId'),
    'x-stream-id': streamId,
    ...(isWhole ? {} : partHeaders),
  });
  try {
    for await (const bytes of sliceStored(sound, { start, end })) await connection.write(bytes);
    connection.end();
  } catch (error) {
    if (!(error instanceof ClientLeft)) connection.destroy(); // headers are out: a cut is the way to say it
  }
  return RESPONSE_ALREADY_SENT;
}

function soundOf(answer: Answer): SoundAnswer {
  if (answer.type === 'speech' || answer.type === 'spoken-chat') return answer;
  throw new VoiceError('stream_not_resumable', { message: 'This stream has no sound.' });
}

/** `?format=`, or that of the request. Throws `unsupported_value`: aac's bytes are other ones each time. */
function readFormat(c: Context<GatewayEnv>, answer: SoundAnswer): AudioFormat {
  const asked = c.req.query('format') ?? answer.format;
  const name = asked === 'pcm16' ? 'pcm' : asked;
  const format = AUDIO_FORMATS.find((known) => known === name && known !== 'aac');
  if (format) return format;
  const supported = AUDIO_FORMATS.filter((known) => known !== 'aac').map((known) => `'${known}'`);
  throw new VoiceError('unsupported_value', {
    param: 'format',
    message: `Unsupported value: 'format' does not support '${asked.slice(0, 50)}' here. Supported values are: ${supported.join(', ')}.`,
  });
}
