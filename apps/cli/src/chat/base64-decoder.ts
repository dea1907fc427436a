/**
 * Decodes base64 that comes in fragments cut anywhere. A fragment with its own padding is decoded
 * by itself: Buffer reads nothing behind the first `=` (contract, section 1.3).
 */
export function createBase64Decoder(): { decode(fragment: string): Uint8Array } {
  let rest = '';
  return {
    decode(fragment) {
      const text = rest + fragment;
      const usable = text.length - (text.length % 4);
      rest = text.slice(usable);
      return Buffer.from(text.slice(0, usable), 'base64');
    },
  };
}
