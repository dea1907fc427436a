/** The samples of a WAV whose header tells the truth; throws where it does not. */
export function wavSamples(file: Uint8Array): { samples: Int16Array; sampleRateHz: number } {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const dataBytes = view.getUint32(40, true);
  const riffBytes = view.getUint32(4, true);
  if (dataBytes !== file.byteLength - 44 || riffBytes !== file.byteLength - 8) {
    throw new Error(`sizes ${riffBytes} and ${dataBytes} in a file of ${file.byteLength} bytes`);
  }
  return { samples: samplesOf(file.subarray(44)), sampleRateHz: view.getUint32(24, true) };
}

/** s16le bytes as samples. */
export function samplesOf(pcm: Uint8Array): Int16Array {
  return new Int16Array(Uint8Array.from(pcm).buffer);
}
