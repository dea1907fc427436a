import { SampleAligner, samplesToBytes } from '@antiphon/shared/audio/pcm';
import { readWav } from '@antiphon/shared/audio/wav';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { PcmChunk } from '@antiphon/shared/services/tts-service';

/** Containers and texts that servers send although PCM was asked; RIFF is read, the rest refused. */
const MAGICS: [string, string][] = [
  ['OggS', 'Ogg'],
  ['fLaC', 'FLAC'],
  ['ID3', 'MP3'],
];
const LONGEST_MAGIC_BYTES = 4;

/** What an upstream's 200 to a request for PCM carries, as PCM. `sampleRateHz`: unless it tells. */
export async function* readSpeechBody(
  bytes: AsyncGenerator<Uint8Array>,
  contentType: string,
  sampleRateHz: number,
): AsyncGenerator<PcmChunk> {
  if (/^(text\/|application\/(problem\+)?json)/i.test(contentType)) {
    await bytes.return(undefined);
    throw notPcm(contentType);
  }
  const start = await firstBytes(bytes);
  const all = withStart(start, bytes);
  const magic = start.subarray(0, LONGEST_MAGIC_BYTES).toString('latin1');
  try {
    if (magic === 'RIFF') return yield* wavSamples(all);
    const container =
      MAGICS.find(([sign]) => magic.startsWith(sign))?.[1] ?? mp3(start, contentType);
    if (container !== undefined) throw notPcm(container);
    const told = /\brate=(\d{4,6})\b/i.exec(contentType)?.[1];
    yield* alignedSamples(all, told === undefined ? sampleRateHz : Number(told));
  } finally {
    await all.return(undefined);
  }
}

function notPcm(what: string): VoiceError {
  return new VoiceError('upstream_protocol', {
    message: `The upstream server of this engine sent ${what} where PCM was asked for.`,
  });
}

/** A frame sync alone may be two loud samples; some servers call PCM audio/mpeg. Both together are MP3. */
function mp3(start: Buffer, contentType: string): string | undefined {
  const isSync = start[0] === 0xff && ((start[1] ?? 0) & 0xe6) === 0xe2;
  return isSync && /audio\/(mpeg|mp3)/i.test(contentType) ? 'MP3' : undefined;
}

async function firstBytes(bytes: AsyncGenerator<Uint8Array>): Promise<Buffer> {
  let start: Buffer = Buffer.alloc(0);
  while (start.byteLength < LONGEST_MAGIC_BYTES) {
    const { done, value } = await bytes.next();
    if (done === true) break;
    start = Buffer.concat([start, value]);
  }
  return start;
}

async function* withStart(
  start: Uint8Array,
  rest: AsyncGenerator<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  try {
    if (start.byteLength > 0) yield start;
    yield* rest;
  } finally {
    await rest.return(undefined);
  }
}

async function* wavSamples(bytes: AsyncGenerator<Uint8Array>): AsyncGenerator<PcmChunk> {
  const content = await readWav(bytes);
  if (content.kind !== 'samples') throw notPcm('a WAV that is not PCM');
  const { sampleRateHz } = content;
  yield* alignedSamples(content.pcm, sampleRateHz);
}

/** Sockets cut anywhere: the odd byte waits. */
async function* alignedSamples(
  bytes: AsyncIterable<Uint8Array>,
  sampleRateHz: number,
): AsyncGenerator<PcmChunk> {
  const aligner = new SampleAligner();
  for await (const piece of bytes) {
    const pcm = samplesToBytes(aligner.align(piece));
    if (pcm.byteLength > 0) yield { pcm, sampleRateHz };
  }
}
