/** Ogg pages (RFC 3533), as far as one stream of packets of one codec needs them. */

const HEADER_BYTES = 27;
const MAX_SEGMENTS = 255;
const FIRST_PAGE = 2;
const LAST_PAGE = 4;

/** CRC-32 as Ogg wants it: polynomial 0x04c11db7, not reflected, from 0, not inverted. */
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let remainder = byte << 24;
  for (let bit = 0; bit < 8; bit += 1) {
    remainder = remainder & 0x8000_0000 ? (remainder << 1) ^ 0x04c1_1db7 : remainder << 1;
  }
  return remainder >>> 0;
});

function crcOf(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) crc = (crc << 8) ^ (CRC_TABLE[((crc >>> 24) ^ byte) & 0xff] ?? 0);
  return crc >>> 0;
}

export interface OggPage {
  packets: readonly Uint8Array[];
  /** Position at the end of the page's last packet, in the codec's own unit. */
  granulePosition: number;
  last?: boolean;
}

/** Writes the pages of one stream, numbered from 0. The same input gives the same bytes. */
export class OggWriter {
  readonly #serialNumber: number;
  #pageNumber = 0;

  constructor(serialNumber: number) {
    this.#serialNumber = serialNumber;
  }

  /** One page of whole packets: together at most 255 segments of 255 bytes. */
  page({ packets, granulePosition, last = false }: OggPage): Uint8Array {
    const segments = packets.flatMap((packet) => lacingOf(packet.length));
    if (segments.length > MAX_SEGMENTS) {
      throw new RangeError(`An Ogg page holds ${MAX_SEGMENTS} segments, not ${segments.length}.`);
    }
    const bodyOffset = HEADER_BYTES + segments.length;
    const bodyBytes = packets.reduce((sum, packet) => sum + packet.length, 0);
    const page = new Uint8Array(bodyOffset + bodyBytes);
    const view = new DataView(page.buffer);
    view.setUint32(0, 0x4f67_6753); // "OggS"
    page[5] = (this.#pageNumber === 0 ? FIRST_PAGE : 0) | (last ? LAST_PAGE : 0);
    view.setBigUint64(6, BigInt(granulePosition), true);
    view.setUint32(14, this.#serialNumber, true);
    view.setUint32(18, this.#pageNumber, true);
    page[26] = segments.length;
    page.set(segments, HEADER_BYTES);
    let offset = bodyOffset;
    for (const packet of packets) {
      page.set(packet, offset);
      offset += packet.length;
    }
    view.setUint32(22, crcOf(page), true);
    this.#pageNumber += 1;
    return page;
  }
}

/** A packet's segment lengths: 255 as often as it fits, then the rest, which may be 0. */
function lacingOf(bytes: number): number[] {
  return [...Array.from({ length: Math.floor(bytes / 255) }, () => 255), bytes % 255];
}
