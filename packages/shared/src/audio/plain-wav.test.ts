import { describe, expect, it } from 'vitest';
import { plainWavRateHz, WAV_HEADER_BYTES } from './plain-wav.ts';
import { wavHeader } from './wav.ts';

describe('a plain header', () => {
  it('is as long as ours, and tells its rate', () => {
    const header = wavHeader({ sampleRateHz: 22_050 });
    expect(header).toHaveLength(WAV_HEADER_BYTES);
    expect(plainWavRateHz(header)).toBe(22_050);
  });

  it('is found wherever it lies in memory, with samples behind it', () => {
    const file = Buffer.concat([Buffer.alloc(3), wavHeader({ sampleRateHz: 8000 }), Buffer.of(1)]);
    expect(plainWavRateHz(file.subarray(3))).toBe(8000);
  });
});

it('knows no rate of a header with other chunks, or of half of one', () => {
  const other = Buffer.from(wavHeader({ sampleRateHz: 8000 }));
  other.write('LIST', 36, 'latin1');
  expect(plainWavRateHz(other)).toBeUndefined();
  expect(plainWavRateHz(wavHeader({ sampleRateHz: 8000 }).subarray(0, 43))).toBeUndefined();
});
