import { describe, expect, it } from 'vitest';
import { concatenate, samplesToBytes } from './pcm.ts';
import { readWav, wavHeader } from './wav.ts';

interface Format {
  codec?: number;
  channels?: number;
  sampleRateHz?: number;
  bits?: number;
  blockAlign?: number;
  extra?: Buffer;
}

function formatChunk(format: Format = {}): Buffer {
  const { codec = 1, channels = 1, sampleRateHz = 24_000, bits = 16, extra } = format;
  const fields = Buffer.alloc(16);
  fields.writeUInt16LE(codec, 0);
  fields.writeUInt16LE(channels, 2);
  fields.writeUInt32LE(sampleRateHz, 4);
  fields.writeUInt32LE(0xdead_beef, 8);
  fields.writeUInt16LE(format.blockAlign ?? 0, 12);
  fields.writeUInt16LE(bits, 14);
  return extra ? Buffer.concat([fields, extra]) : fields;
}

function chunk(id: string, body: Uint8Array, sizeBytes = body.length): Buffer {
  const head = Buffer.alloc(8);
  head.write(id, 'latin1');
  head.writeUInt32LE(sizeBytes >>> 0, 4);
  return Buffer.concat([head, body, Buffer.alloc(body.length % 2)]);
}

function riff(...chunks: Buffer[]): Buffer {
  return Buffer.concat([Buffer.from('RIFF\x01\x02\x03\x04WAVE', 'latin1'), ...chunks]);
}

interface Source extends AsyncIterable<Uint8Array> {
  returned: boolean;
}

/** The bytes in pieces of the given sizes, in turn; notes whether it was given back. */
function sourceOf(bytes: Uint8Array, cuts: readonly number[] = [bytes.length]): Source {
  const source: Source = {
    returned: false,
    async *[Symbol.asyncIterator]() {
      try {
        let offset = 0;
        for (let turn = 0; offset < bytes.length; turn += 1) {
          const end = offset + (cuts[turn % cuts.length] ?? 1);
          yield bytes.subarray(offset, end);
          offset = end;
        }
      } finally {
        source.returned = true;
      }
    },
  };
  return source;
}

async function samplesOf(bytes: Uint8Array, cuts?: readonly number[]): Promise<number[]> {
  const content = await readWav(sourceOf(bytes, cuts));
  if (content.kind !== 'samples') throw new Error(content.kind);
  const parts: Uint8Array[] = [];
  for await (const part of content.pcm) parts.push(part);
  return [...new Int16Array(concatenate(parts).slice().buffer)];
}

function int16(...values: number[]): Buffer {
  return int16s(values);
}

function int16s(values: readonly number[]): Buffer {
  return Buffer.from(samplesToBytes(Int16Array.from(values)));
}

describe('wavHeader', () => {
  it('tells exact sizes', async () => {
    const header = Buffer.from(wavHeader({ sampleRateHz: 16_000, dataBytes: 6 }));
    expect(header.length).toBe(44);
    expect(header.readUInt32LE(4)).toBe(42);
    expect(header.readUInt32LE(28)).toBe(32_000);
    const content = await readWav(sourceOf(Buffer.concat([header, int16(1, 2, 3, 4)])));
    expect(content).toMatchObject({ kind: 'samples', sampleRateHz: 16_000 });
    expect(await samplesOf(Buffer.concat([header, int16(1, 2, 3, 4)]))).toEqual([1, 2, 3]);
  });

  it.each([undefined, 2 ** 32])('says 0xFFFFFFFF for %s bytes', (dataBytes) => {
    const options = dataBytes === undefined ? {} : { dataBytes };
    const header = Buffer.from(wavHeader({ sampleRateHz: 24_000, ...options }));
    expect([header.readUInt32LE(4), header.readUInt32LE(40)]).toEqual([0xffff_ffff, 0xffff_ffff]);
  });
});

describe('readWav', () => {
  const PCM_GUID_TAIL = Buffer.from('000000001000800000aa00389b71', 'hex');
  const float32 = Buffer.alloc(24);
  [0.5, -0.5, 2, -2, Number.NaN, Infinity].forEach((value, index) =>
    float32.writeFloatLE(value, index * 4),
  );
  const float64 = Buffer.alloc(16);
  float64.writeDoubleLE(0.25, 0);
  float64.writeDoubleLE(-1, 8);
  const int32 = Buffer.alloc(8);
  int32.writeInt32LE(-(2 ** 31), 0);
  int32.writeInt32LE(1000 * 65_536, 4);
  const layouts: { name: string; format: Format; data: Buffer; samples: number[] }[] = [
    {
      name: '8 bit, unsigned',
      format: { bits: 8 },
      data: Buffer.from([0, 128, 255]),
      samples: [-32_768, 0, 32_512],
    },
    { name: '16 bit', format: {}, data: int16(-32_768, 0, 5), samples: [-32_768, 0, 5] },
    {
      name: '24 bit',
      format: { bits: 24 },
      data: Buffer.from('000080ffff7f00e803', 'hex'),
      samples: [-32_768, 32_767, 1000],
    },
    { name: '32 bit', format: { bits: 32 }, data: int32, samples: [-32_768, 1000] },
    {
      name: '32 bit float, hostile values too',
      format: { codec: 3, bits: 32 },
      data: float32,
      samples: [16_384, -16_384, 32_767, -32_768, 0, 32_767],
    },
    {
      name: '64 bit float',
      format: { codec: 3, bits: 64 },
      data: float64,
      samples: [8192, -32_768],
    },
    {
      name: 'stereo, averaged',
      format: { channels: 2 },
      data: int16(100, 200, -300, -100),
      samples: [150, -200],
    },
    {
      name: 'six channels',
      format: { channels: 6 },
      data: int16(6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 9),
      samples: [1, 4],
    },
    {
      name: 'extensible',
      format: {
        codec: 0xfffe,
        extra: Buffer.concat([Buffer.from('16001000040000000100', 'hex'), PCM_GUID_TAIL]),
      },
      data: int16(7, 8),
      samples: [7, 8],
    },
    {
      name: 'a wrong block align',
      format: { blockAlign: 65_535 },
      data: int16(7, 8),
      samples: [7, 8],
    },
  ];

  it.each(layouts)('reads $name, however it is cut', async ({ format, data, samples }) => {
    const file = riff(chunk('fmt ', formatChunk(format)), chunk('data', data));
    expect(await samplesOf(file)).toEqual(samples);
    expect(await samplesOf(file, [1])).toEqual(samples);
    expect(await samplesOf(file, [13, 5, 3])).toEqual(samples);
  });

  it('passes over other chunks, odd ones too, before and after the samples', async () => {
    const file = riff(
      chunk('LIST', Buffer.from('abc')),
      chunk('fmt ', formatChunk()),
      chunk('junk', Buffer.alloc(70_001)),
      chunk('data', int16(1, 2)),
      chunk('LIST', Buffer.from('not audio')),
    );
    expect(await samplesOf(file, [4096])).toEqual([1, 2]);
  });

  it.each([0, 0xffff_ffff, 0x7fff_ffff])('reads to the end at a size of %i', async (sizeBytes) => {
    const file = riff(chunk('fmt ', formatChunk()), chunk('data', int16(1, 2, 3), sizeBytes));
    expect(await samplesOf(file)).toEqual([1, 2, 3]);
  });

  it('drops what is left of a frame in a truncated file', async () => {
    const file = riff(
      chunk('fmt ', formatChunk({ channels: 2 })),
      chunk('data', int16(1, 3, 5), 400),
    );
    expect(await samplesOf(file)).toEqual([2]);
  });

  it('reads more than one piece', async () => {
    const samples = Array.from({ length: 200_001 }, (_, index) => (index % 60_000) - 30_000);
    const file = riff(chunk('fmt ', formatChunk()), chunk('data', int16s(samples)));
    expect(await samplesOf(file, [65_537])).toEqual(samples);
  });

  it.each([2, 0x11, 6, 7, 0x55, 0])('leaves codec %i to others', async (codec) => {
    const source = sourceOf(riff(chunk('fmt ', formatChunk({ codec })), chunk('data', int16(1))));
    expect(await readWav(source)).toEqual({ kind: 'unknown-codec' });
    expect(source.returned).toBe(true);
  });

  const INVALID: [string, Buffer][] = [
    ['nothing', Buffer.alloc(0)],
    ['another RIFF', Buffer.from('RIFF\0\0\0\0AVI LIST')],
    ['no format', riff(chunk('data', int16(1)))],
    ['no data', riff(chunk('fmt ', formatChunk()))],
    ['a short format', riff(chunk('fmt ', Buffer.alloc(8)), chunk('data', int16(1)))],
    ['no channels', riff(chunk('fmt ', formatChunk({ channels: 0 })), chunk('data', int16(1)))],
    [
      '65535 channels',
      riff(chunk('fmt ', formatChunk({ channels: 65_535 })), chunk('data', int16(1))),
    ],
    [
      'a rate of 2^32-1',
      riff(chunk('fmt ', formatChunk({ sampleRateHz: 2 ** 32 - 1 })), chunk('data', int16(1))),
    ],
    ['a rate of 0', riff(chunk('fmt ', formatChunk({ sampleRateHz: 0 })), chunk('data', int16(1)))],
    ['0 bits', riff(chunk('fmt ', formatChunk({ bits: 0 })), chunk('data', int16(1)))],
    ['65535 bits', riff(chunk('fmt ', formatChunk({ bits: 65_535 })), chunk('data', int16(1)))],
    ['a chunk beyond the end', riff(chunk('LIST', Buffer.alloc(10), 0xffff_fff0))],
    ['a format of 4 GB', riff(chunk('fmt ', formatChunk(), 0xffff_ffff))],
  ];

  it.each(INVALID)('refuses %s and gives the source back', async (_, file) => {
    const source = sourceOf(file, [5]);
    expect(await readWav(source)).toEqual({ kind: 'invalid' });
    expect(source.returned || file.length === 0).toBe(true);
  });

  it('gives the source back when the reader leaves early', async () => {
    const file = riff(chunk('fmt ', formatChunk()), chunk('data', Buffer.alloc(200_000)));
    const source = sourceOf(file, [4096]);
    const content = await readWav(source);
    if (content.kind !== 'samples') throw new Error(content.kind);
    for await (const _ of content.pcm) break;
    expect(source.returned).toBe(true);
  });

  it('survives any damage to a header', async () => {
    // Not random: a failure must come again.
    let seed = 42;
    const next = (below: number): number => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return (seed >>> 8) % below;
    };
    const good = riff(
      chunk('LIST', Buffer.from('info')),
      chunk('fmt ', formatChunk({ channels: 2 })),
      chunk('data', int16s(Array.from({ length: 64 }, (_, index) => index))),
    );
    const kinds = new Set<string>();
    const wrong: string[] = [];
    for (let round = 0; round < 3000; round += 1) {
      const bad = Buffer.from(good.subarray(0, next(4) === 0 ? next(good.length) : good.length));
      for (let damage = next(4); damage >= 0 && bad.length > 0; damage -= 1) {
        bad[next(Math.min(bad.length, 64))] = [0, 1, 0x7f, 0xff, next(256)][next(5)] ?? 0;
      }
      const content = await readWav(sourceOf(bad, [1 + next(40)]));
      kinds.add(content.kind);
      let bytes = 0;
      if (content.kind === 'samples') for await (const part of content.pcm) bytes += part.length;
      // 8 bit doubles; nothing else can grow.
      if (bytes > 2 * bad.length || bytes % 2 !== 0) wrong.push(bad.toString('hex'));
    }
    expect(wrong).toEqual([]);
    expect(kinds).toEqual(new Set(['samples', 'invalid', 'unknown-codec']));
  });
});
