import { createHash } from 'node:crypto';
import { TRANSCRIPT_PART } from '@antiphon/shared/jobs/job-catalog';
import { describe, expect, it } from 'vitest';
import { MAX_AUDIO_PARTS, extractAudioParts, replaceAudioParts } from './audio-parts.ts';

const LIMIT_BYTES = 1000;

const wav = (content = ''): Buffer => Buffer.from(`RIFF....WAVEfmt ${content}`);
const flac = Buffer.from('fLaC............');
const recording = (bytes: Buffer | string, format: unknown = 'wav') => ({
  type: 'input_audio',
  input_audio: { data: typeof bytes === 'string' ? bytes : bytes.toString('base64'), format },
});
const text = { type: 'text', text: 'Listen:' };
const user = (...content: unknown[]) => ({ role: 'user', content });
const extract = (messages: Record<string, unknown>[], maxBytes = LIMIT_BYTES) =>
  extractAudioParts(messages, maxBytes);

/** The error about `messages[1].content[1]`, which is this part. */
async function faultOf(part: unknown, role = 'user'): Promise<unknown> {
  const messages = [
    { role: 'system', content: 'x' },
    { role, content: [text, part] },
  ];
  return extract(messages).then(
    () => undefined,
    (error: unknown) => error,
  );
}
const PARAM = 'messages[1].content[1].input_audio';

it('finds every recording, in order, with its content and what its bytes are', async () => {
  const one = wav('one');
  const messages = [
    user(recording(one), text),
    { role: 'assistant', content: 'Yes?' },
    { role: 'assistant', content: null, tool_calls: [] },
    user(text, recording(flac, 'mp3'), recording(one)),
  ];
  const parts = await extract(messages);
  expect(parts.map(({ messageIndex, partIndex }) => [messageIndex, partIndex])).toEqual([
    [0, 0],
    [3, 1],
    [3, 2],
  ]);
  expect(parts.map(({ format }) => format)).toEqual(['wav', 'flac', 'wav']);
  expect(parts[0]?.bytes.equals(one)).toBe(true);
  expect(parts[0]?.sizeBytes).toBe(one.length);
  expect(parts[0]?.sha256).toBe(createHash('sha256').update(one).digest('hex'));
  expect(parts[2]?.sha256).toBe(parts[0]?.sha256);
  expect(parts[1]?.sha256).not.toBe(parts[0]?.sha256);
});

it('puts a placeholder for each, and leaves the rest and the original alone', async () => {
  const messages = [
    { role: 'system', content: 'Be brief.' },
    { ...user(recording(wav('1')), text, recording(wav('2'))), name: 'Ann' },
  ];
  const before = structuredClone(messages);
  const parts = await extract(messages);
  expect(replaceAudioParts(messages, parts, ({ partIndex }) => `key${partIndex}`)).toEqual([
    messages[0],
    {
      role: 'user',
      name: 'Ann',
      content: [
        { type: TRANSCRIPT_PART, key: 'key0' },
        text,
        { type: TRANSCRIPT_PART, key: 'key2' },
      ],
    },
  ]);
  expect(messages).toEqual(before);
  expect(replaceAudioParts(messages, [], () => '')).toBe(messages);
});

it('hashes what is longer than a slice, and lets others run meanwhile', async () => {
  const long = Buffer.concat([wav(), Buffer.alloc(3_000_000, 'x')]);
  let turns = 0;
  let finished = false;
  const count = () => {
    turns += 1;
    if (!finished) setImmediate(count);
  };
  count();
  const [part] = await extract([user(recording(long))], 4_000_000);
  finished = true;
  expect(part?.sha256).toBe(createHash('sha256').update(long).digest('hex'));
  expect(turns).toBeGreaterThanOrEqual(3);
});

describe('names of formats', () => {
  it.each(['wav', 'mp3', 'flac', 'ogg', 'opus', 'm4a', 'mp4', 'webm', 'aac'])(
    '%s is known, and the bytes decide',
    async (format) => {
      expect(await extract([user(recording(wav(), format))])).toMatchObject([{ format: 'wav' }]);
    },
  );

  it('another one is refused with the known ones', async () => {
    expect(await faultOf(recording(wav(), 'pcm16'))).toMatchObject({
      code: 'invalid_value',
      param: `${PARAM}.format`,
      message: expect.stringMatching(/^Invalid value: 'pcm16'. Supported values are: 'wav', 'mp3'/),
    });
    expect(await faultOf(recording(wav(), 7))).toMatchObject({ param: `${PARAM}.format` });
  });
});

describe('base64', () => {
  const bytes = Buffer.concat([wav(), Buffer.from([0xfb, 0xff, 0xbf, 0xfe, 0xff])]);

  it.each([0, 1, 2])(
    'with %i bytes more, with padding and without, in both alphabets',
    async (more) => {
      const longer = Buffer.concat([bytes, Buffer.alloc(more, 0xff)]);
      const encoded = longer.toString('base64');
      for (const data of [encoded, encoded.replace(/=+$/, ''), longer.toString('base64url')]) {
        const [part] = await extract([user(recording(data))]);
        expect(part?.bytes.equals(longer)).toBe(true);
      }
    },
  );

  const encoded = wav('xy').toString('base64');
  it.each([
    ['a blank', `${encoded.slice(0, 8)} ${encoded.slice(8)}`],
    ['a line break', `${encoded}\n`],
    ['one letter too many', `${encoded}A`.replace(/=/g, '')],
    ['padding in the middle', `${encoded.slice(0, 6)}==${encoded}`],
    ['three of padding', `${encoded}===`],
    ['padding alone', '=='],
    ['another sign', encoded.replace(/.$/, '*')],
    ['a letter that ends like another', encoded.replace('U', 'ŕ')],
    ['bytes as text', 'RIFF....WAVEfmt '],
  ])('%s is refused', async (_what, data) => {
    expect(await faultOf(recording(data))).toMatchObject({
      code: 'invalid_value',
      param: `${PARAM}.data`,
      message: `Invalid '${PARAM}.data': expected a file's bytes in base64, without blanks and line breaks.`,
    });
  });

  it('a data URL is refused with what to leave out', async () => {
    expect(await faultOf(recording(`data:audio/wav;base64,${encoded}`))).toMatchObject({
      code: 'invalid_value',
      param: `${PARAM}.data`,
      message: expect.stringMatching(/leave out what stands before the comma/),
    });
  });
});

describe('refused', () => {
  it.each([
    ['input_audio', { type: 'input_audio' }, ''],
    ['data', { type: 'input_audio', input_audio: { format: 'wav' } }, '.data'],
    ['format', { type: 'input_audio', input_audio: { data: 'AAAA' } }, '.format'],
  ])('without %s', async (_what, part, where) => {
    const param = `${PARAM}${where}`;
    expect(await faultOf(part)).toMatchObject({
      code: 'missing_required_parameter',
      param,
      message: `Missing required parameter: '${param}'.`,
    });
  });

  it.each([
    ['a text', { type: 'input_audio', input_audio: 'AAAA' }, ''],
    ['null', { type: 'input_audio', input_audio: null }, ''],
    [
      'a number for data',
      { type: 'input_audio', input_audio: { data: 7, format: 'wav' } },
      '.data',
    ],
    ['null for data', { type: 'input_audio', input_audio: { data: null, format: 'wav' } }, '.data'],
  ])('%s', async (_what, part, where) => {
    expect(await faultOf(part)).toMatchObject({ code: 'invalid_type', param: `${PARAM}${where}` });
  });

  it('an empty one', async () => {
    expect(await faultOf(recording(''))).toMatchObject({
      code: 'invalid_value',
      param: `${PARAM}.data`,
    });
  });

  it('bytes that are no audio', async () => {
    expect(await faultOf(recording(Buffer.from('%PDF-1.7 and so on')))).toMatchObject({
      code: 'invalid_file_format',
      param: `${PARAM}.data`,
    });
    expect(await faultOf(recording(Buffer.from('R')))).toMatchObject({
      code: 'invalid_file_format',
    });
  });

  it.each(['system', 'developer', 'assistant', 'tool'])('in a message of %s', async (role) => {
    expect(await faultOf(recording(wav()), role)).toMatchObject({
      code: 'invalid_value',
      param: 'messages[1].content[1].type',
    });
  });

  it('a placeholder of ours, which would fetch what another request heard', async () => {
    const part = { type: TRANSCRIPT_PART, key: 'antiphon:transcript:default:1' };
    for (const role of ['user', 'system']) {
      expect(await faultOf(part, role)).toMatchObject({
        code: 'invalid_value',
        param: 'messages[1].content[1].type',
      });
    }
  });

  it('what is larger than the limit, which itself passes', async () => {
    const sized = (bytes: number) => Buffer.concat([wav(), Buffer.alloc(bytes - wav().length)]);
    expect(await extract([user(recording(sized(LIMIT_BYTES)))])).toHaveLength(1);
    expect(await faultOf(recording(sized(LIMIT_BYTES + 1)))).toMatchObject({
      code: 'request_too_large',
      message: `Maximum content size limit (${LIMIT_BYTES}) exceeded (${LIMIT_BYTES + 1} bytes read)`,
    });
  });

  it('more of them than a conversation has', async () => {
    const many = (count: number) => [
      user(...Array.from({ length: count }, () => recording(wav()))),
    ];
    expect(await extract(many(MAX_AUDIO_PARTS))).toHaveLength(MAX_AUDIO_PARTS);
    await expect(extract(many(MAX_AUDIO_PARTS + 1))).rejects.toMatchObject({
      code: 'invalid_value',
      param: 'messages',
    });
  });
});
