const SECTION = { custom: 0, data: 11 };
const DATA_SEGMENT_NAMES = 9;
const READ_ONLY = '.rodata';
const HEADER_BYTES = 8;
const I32_CONST = 0x41;

/** Reads a WebAssembly binary from its header on (WebAssembly core specification 2.0, §5). */
class BinaryReader {
  readonly bytes: Uint8Array;
  at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.bytes = bytes;
    this.at = at;
  }

  byte(): number {
    return this.bytes[this.at++] ?? 0;
  }

  /** LEB128, unsigned, 32 bits: also of what is signed, as long as it is an address. */
  number(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      value |= (byte & 0x7f) << shift;
      if ((byte & 0x80) === 0 || shift > 28) return value >>> 0;
    }
  }

  name(): string {
    const length = this.number();
    this.at += length;
    return new TextDecoder().decode(this.bytes.subarray(this.at - length, this.at));
  }
}

/**
 * The address up to which a command's memory holds only constants (`.rodata`, which the linker puts
 * first); 0 where the binary does not say so.
 */
export function readOnlyEnd(bytes: Uint8Array): number {
  const reader = new BinaryReader(bytes, HEADER_BYTES);
  let firstEnd = 0;
  let firstName = '';
  while (reader.at < bytes.length) {
    const section = reader.byte();
    const size = reader.number();
    const end = reader.at + size;
    if (section === SECTION.data) firstEnd = firstSegmentEnd(reader);
    if (section === SECTION.custom && reader.name() === 'name')
      firstName = firstSegmentName(reader, end);
    reader.at = end;
  }
  return firstName === READ_ONLY ? firstEnd : 0;
}

function firstSegmentEnd(reader: BinaryReader): number {
  const count = reader.number();
  const isActive = reader.number() === 0;
  if (count === 0 || !isActive || reader.byte() !== I32_CONST) return 0;
  const start = reader.number();
  reader.byte(); // the end of the address
  return start + reader.number();
}

function firstSegmentName(reader: BinaryReader, sectionEnd: number): string {
  while (reader.at < sectionEnd) {
    const subsection = reader.byte();
    const size = reader.number();
    const end = reader.at + size;
    if (subsection === DATA_SEGMENT_NAMES) {
      const count = reader.number();
      const index = reader.number();
      return count > 0 && index === 0 ? reader.name() : '';
    }
    reader.at = end;
  }
  return '';
}
