/**
 * A thread that encodes what nobody waits for: on the worker's event loop it would stand in the way
 * of streams (mp3: 40 ms for 5 s of sound).
 */
import { parentPort } from 'node:worker_threads';
import type { AudioEncoder } from '@antiphon/shared/audio/audio-encoder';
import type { AudioFormat } from '@antiphon/shared/audio/audio-format';
import { createAudioEncoder } from '@antiphon/shared/audio/create-audio-encoder';
import { type SerializedVoiceError, VoiceError } from '@antiphon/shared/errors/voice-error';
import { lowerThreadPriority } from '@antiphon/shared/services/low-priority';

/** `id`: of one encoder. Each order but `close` has one reply; the next one waits for it. */
export type EncoderOrder =
  | { id: number; type: 'open'; format: AudioFormat }
  | { id: number; type: 'encode'; pcm: Uint8Array }
  | { id: number; type: 'end' }
  | { id: number; type: 'close' };

export type EncoderReply =
  | { id: number; bytes: Uint8Array }
  | { id: number; error: SerializedVoiceError };

const NOTHING = new Uint8Array(0);
const encoders = new Map<number, AudioEncoder>();

async function obey(order: EncoderOrder): Promise<Uint8Array> {
  if (order.type === 'open') {
    encoders.set(order.id, await createAudioEncoder(order.format));
    return NOTHING;
  }
  const encoder = encoders.get(order.id);
  if (order.type === 'encode') return (await encoder?.encode(order.pcm)) ?? NOTHING;
  if (order.type === 'end') return (await encoder?.end()) ?? NOTHING;
  encoders.delete(order.id);
  encoder?.close();
  return NOTHING;
}

async function answer(order: EncoderOrder): Promise<void> {
  const { id } = order;
  try {
    // A copy of its own, which can be given away: an encoder's may be a view of something larger.
    const bytes = Uint8Array.from(await obey(order));
    if (order.type !== 'close') post({ id, bytes }, [bytes.buffer]);
  } catch (thrown) {
    post({ id, error: VoiceError.from(thrown, 'engine_failed').serialize() });
  }
}

function post(reply: EncoderReply, transfer: ArrayBuffer[] = []): void {
  parentPort?.postMessage(reply, transfer);
}

lowerThreadPriority();
parentPort?.on('message', (order: EncoderOrder) => void answer(order));
