/** Of a WAV that is a `fmt ` chunk of 16 bytes and then samples, as most programs write it. */
export const WAV_HEADER_BYTES = 44;
const RATE_OFFSET = 24;
const DATA_OFFSET = 36;
const DATA_MARK = 0x6461_7461; // "data"

/** Samples per second, by such a header; undefined for one of another shape, or not all of it. */
export function plainWavRateHz(header: Uint8Array): number | undefined {
  if (header.byteLength < WAV_HEADER_BYTES) return undefined;
  const view = new DataView(header.buffer, header.byteOffset, WAV_HEADER_BYTES);
  return view.getUint32(DATA_OFFSET) === DATA_MARK ? view.getUint32(RATE_OFFSET, true) : undefined;
}
