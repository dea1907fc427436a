/** Loudest sample of what counts as silence: an engine's pauses are zeros and their neighbours. */
const SILENCE_PEAK = 64;

/** Whether there is nothing to be heard in these s16le samples, which begin at an even address. */
export function isSilence(pcm: Uint8Array): boolean {
  const samples = new Int16Array(pcm.buffer, pcm.byteOffset, pcm.byteLength >> 1);
  return samples.every((sample) => Math.abs(sample) <= SILENCE_PEAK);
}
