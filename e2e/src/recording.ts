const SAMPLE_RATE_HZ = 24_000;

/** s16le mono as a WAV file. */
function wavOf(pcm: Uint8Array): Buffer {
  const header = Buffer.from('RIFF????WAVEfmt ????????????????????data????', 'latin1');
  header.writeUInt32LE(pcm.length + 36, 4);
  header.writeUInt32LE(16, 16);
  header.writeUInt16LE(1, 20);
  header.writeUInt16LE(1, 22);
  header.writeUInt32LE(SAMPLE_RATE_HZ, 24);
  header.writeUInt32LE(SAMPLE_RATE_HZ * 2, 28);
  header.writeUInt16LE(2, 32);
  header.writeUInt16LE(16, 34);
  header.writeUInt32LE(pcm.length, 40);
  return Buffer.concat([header, pcm]);
}

/** A file as a part of a message. */
export const recordingOf = (bytes: Uint8Array, format: 'wav' | 'mp3' = 'wav') => ({
  type: 'input_audio' as const,
  input_audio: { data: Buffer.from(bytes).toString('base64'), format },
});

/** Samples that are all alike; each level makes another recording. */
export const hum = (seconds: number, level = 0): Buffer =>
  wavOf(Buffer.alloc(Math.round(seconds * SAMPLE_RATE_HZ) * 2, level));
