import { describe, expect, it } from 'vitest';
import { describeStream, streamObjectSchema } from './stream-object.ts';

const opened = { status: 'open', kind: 'chat', model: 'm', openedMs: '1700000000999', seq: '0' };

it('is what the API says of a stream, and nothing else of its state', () => {
  const object = describeStream('s1', {
    ...opened,
    tenantId: 'secret',
    seq: '3',
    'chat:epoch': '1',
    timings: '{"queueMs":2,"gapCount":0}',
  });
  expect(object).toStrictEqual({
    id: 's1',
    object: 'stream',
    kind: 'chat',
    model: 'm',
    status: 'open',
    stage: 'thinking',
    created_at: 1_700_000_000,
    timings: { queueMs: 2, gapCount: 0 },
  });
  expect(streamObjectSchema.parse(object)).toStrictEqual(object);
});

describe('its stage', () => {
  it.each<[string, Record<string, string>]>([
    ['queued', {}],
    ['queued', { kind: 'speech', waiting: '3', phraseCount: '3' }],
    ['transcribing', { kind: 'transcription', seq: '1' }],
    ['transcribing', { seq: '4' }], // a chat's recordings
    ['transcribing', { seq: '2', 'playback:epoch': '1' }],
    ['thinking', { seq: '5', 'chat:epoch': '1' }],
    ['writing', { seq: '6', 'chat:epoch': '1', 'chat:index': '1' }],
    ['speaking', { seq: '7', 'chat:epoch': '1', 'chat:index': '1', 'phrase-0:epoch': '1' }],
    ['speaking', { kind: 'speech', seq: '1' }], // its second phrase was claimed first
    ['ended', { status: 'done', seq: '7', 'chat:epoch': '1', 'chat:index': '1' }],
    ['ended', { status: 'cancelled' }],
    ['ended', { status: 'error', seq: '2', 'chat:epoch': '1' }],
  ])('%s: %j', (stage, state) => {
    expect(describeStream('s1', { ...opened, ...state }).stage).toBe(stage);
  });
});

describe('its phrases', () => {
  it.each([
    [
      { waiting: '3', ended: '0' },
      { total: 3, spoken: 0, failed: 0, cached: 0 },
    ],
    [
      { waiting: '3', phraseCount: '3', ended: '2', failed: '1', cached: '1' },
      { total: 3, spoken: 1, failed: 1, cached: 1 },
    ],
  ])('%j', (state, phrases) => {
    expect(describeStream('s1', { ...opened, ...state }).phrases).toStrictEqual(phrases);
  });
});

describe('its playback', () => {
  it('is there where the server plays it', () => {
    const state = { ...opened, playback: '1', produced: '36000', sent: '24000' };
    expect(describeStream('s1', { ...state, seq: '1', 'playback:epoch': '1' })).toMatchObject({
      stage: 'queued',
      playback: { producedMs: 1500, playedMs: 1000, ended: false },
    });
    const ended = describeStream('s1', { ...state, 'playback:index': '1' });
    expect(ended.playback).toEqual({ producedMs: 1500, playedMs: 1000, ended: true });
    const failed = describeStream('s1', { ...state, 'playback:error': 'player_failed' });
    expect(failed.playback).toMatchObject({ ended: false, error: 'player_failed' });
  });

  it('is left out elsewhere', () => {
    expect(describeStream('s1', { ...opened, produced: '5' })).not.toHaveProperty('playback');
  });
});
