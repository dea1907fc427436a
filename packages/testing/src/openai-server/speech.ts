import type { Reply } from './reply.ts';

const SAMPLE_RATE_HZ = 24_000;
const CHUNK_BYTES = 4800; // 100 ms
const SECONDS_PER_CHARACTER = 0.05;

interface SpeechBody {
  model?: string;
  input?: string;
  voice?: string;
  response_format?: string;
  speed?: number;
}

/** Frequency in Hz of the tone that stands for this text: 200 to 1,199. */
export function toneHz(text: string): number {
  let hash = 7;
  for (const character of text) hash = (hash * 31 + (character.codePointAt(0) ?? 0)) % 9973;
  return 200 + (hash % 1000);
}

/**
 * What the server says for `text`: s16le mono, 24 kHz, a tone whose frequency and length (50 ms
 * per character unless `seconds` is given, divided by `speed`) tell one text from another.
 */
export function spokenPcm(
  text: string,
  options: { seconds?: number; speed?: number } = {},
): Buffer {
  const natural = Math.max(0.1, text.length * SECONDS_PER_CHARACTER);
  const seconds = (options.seconds ?? natural) / (options.speed ?? 1);
  const samples = new Int16Array(Math.round(seconds * SAMPLE_RATE_HZ));
  const step = (2 * Math.PI * toneHz(text)) / SAMPLE_RATE_HZ;
  const first = Math.min(samples.length, SAMPLE_RATE_HZ);
  for (let at = 0; at < first; at += 1) samples[at] = Math.round(9000 * Math.sin(at * step));
  // Whole Hz: every second is the first one again [ten minutes: 1.2 s of work without this].
  for (let at = first; at < samples.length; at += first) samples.copyWithin(at, 0, first);
  return Buffer.from(samples.buffer);
}

/** pcm and wav; other formats are refused, as some local servers do. */
export async function answerSpeech(reply: Reply): Promise<void> {
  const body = (reply.request.body ?? {}) as SpeechBody;
  const format = body.response_format ?? 'mp3';
  if (typeof body.input !== 'string' || (format !== 'pcm' && format !== 'wav')) {
    await reply.json(400, {
      error: {
        message: `Input should be 'pcm' or 'wav', not '${format}'.`,
        type: 'invalid_request_error',
        param: 'response_format',
        code: 'invalid_value',
      },
    });
    return;
  }
  const { audioSeconds, speechFormat = format } = reply.script;
  const pcm = spokenPcm(body.input, {
    ...(audioSeconds === undefined ? {} : { seconds: audioSeconds }),
    ...(body.speed === undefined ? {} : { speed: body.speed }),
  });
  const contentType = reply.script.speechContentType ?? `audio/${speechFormat}`;
  await reply.head(200, { 'content-type': contentType });
  if (speechFormat === 'wav') await reply.write(streamedWavHeader());
  for (let at = 0; at < pcm.byteLength; at += CHUNK_BYTES) {
    await reply.token(pcm.subarray(at, at + CHUNK_BYTES));
  }
  await reply.tokensDone();
  reply.end();
}

/** Sizes are unknown while streaming: 0xFFFFFFFF. */
function streamedWavHeader(): Buffer {
  const header = Buffer.alloc(44);
  header.write('RIFF', 0);
  header.writeUInt32LE(0xffffffff, 4);
  header.write('WAVEfmt ', 8);
  header.writeUInt32LE(16, 16);
  header.writeUInt16LE(1, 20);
  header.writeUInt16LE(1, 22);
  header.writeUInt32LE(SAMPLE_RATE_HZ, 24);
  header.writeUInt32LE(SAMPLE_RATE_HZ * 2, 28);
  header.writeUInt16LE(2, 32);
  header.writeUInt16LE(16, 34);
  header.write('data', 36);
  header.writeUInt32LE(0xffffffff, 40);
  return header;
}
