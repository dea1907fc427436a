import { expect, it } from 'vitest';
import { detectUploadFormat } from './upload-format.ts';

/** Files of real encoders are in recorded-audio.test.ts; here is what no encoder makes. */
function id3(tagBytes: number, after: Uint8Array): Buffer {
  const head = Buffer.from('ID3\x04\0\0\0\0\0\0', 'latin1');
  head[8] = tagBytes >> 7;
  head[9] = tagBytes & 0x7f;
  return Buffer.concat([head, Buffer.alloc(tagBytes), after]);
}

const MP3_FRAME = Buffer.concat([Buffer.from('fff384c4', 'hex'), Buffer.alloc(188)]);
const ADTS_FRAME = Buffer.concat([Buffer.from('fff158402ffffc', 'hex'), Buffer.alloc(376)]);

it('looks behind an ID3 tag', () => {
  expect(detectUploadFormat(id3(300, MP3_FRAME))).toBe('mp3');
  expect(detectUploadFormat(id3(300, ADTS_FRAME))).toBe('aac');
  expect(detectUploadFormat(id3(300, Buffer.from('fLaC')))).toBe('flac');
  expect(detectUploadFormat(id3(1500, MP3_FRAME).subarray(0, 500))).toBe('mp3');
});

it('knows frames by the next frame', () => {
  const twice = Buffer.concat([MP3_FRAME, MP3_FRAME]);
  expect(detectUploadFormat(twice)).toBe('mp3');
  expect(detectUploadFormat(Buffer.concat([MP3_FRAME, Buffer.alloc(50)]))).toBeUndefined();
  expect(detectUploadFormat(Buffer.concat([ADTS_FRAME, ADTS_FRAME]))).toBe('aac');
  expect(detectUploadFormat(Buffer.concat([ADTS_FRAME, MP3_FRAME]))).toBeUndefined();
});

const OTHERS: [string, Uint8Array][] = [
  ['nothing', new Uint8Array(0)],
  ['three bytes', Uint8Array.of(0xff, 0xfb, 0x90)],
  ['zeros', new Uint8Array(64)],
  ['JPEG', Buffer.from('ffd8ffe000104a4649460001', 'hex')],
  ['PNG', Buffer.from('89504e470d0a1a0a0000000d', 'hex')],
  ['UTF-16 text', Buffer.from(`\ufeff${'A plain text, long enough. '.repeat(60)}`, 'utf16le')],
  ['HTML', Buffer.from('<!doctype html><html>')],
  ['a playlist', Buffer.from('#EXTM3U\n#EXTINF:10,\na.ts\n')],
  ['AVI', Buffer.from('RIFF\0\0\0\0AVI LIST', 'latin1')],
  ['AIFF', Buffer.from('FORM\0\0\0\0AIFFCOMM', 'latin1')],
  ['MIDI', Buffer.from('MThd\0\0\0\x06\0\x01\0\x01', 'latin1')],
  ['a reserved MPEG version', Buffer.from('ffeb90c400000000', 'hex')],
  ['a reserved bit rate', Buffer.from('fffbf0c400000000', 'hex')],
  ['a reserved sample rate', Buffer.from('fffb9cc400000000', 'hex')],
];

it.each(OTHERS)('does not know %s', (_, bytes) => {
  expect(detectUploadFormat(bytes)).toBeUndefined();
});
