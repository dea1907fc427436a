import { describe, expect, it } from 'vitest';
import { KeyFault, digestOf, parseKey, parseKeyFile } from './key-list.ts';

const KEY = 'sk-right-0123456789abcdef';
const HEX = digestOf(KEY).toString('hex');

describe('an entry', () => {
  it('is a key alone, whose tenant is known by its digest', () => {
    expect(parseKey(KEY)).toEqual({
      digest: digestOf(KEY),
      tenantId: `key-${HEX.slice(0, 16)}`,
      limits: {},
      weak: false,
    });
  });

  it.each([`sha256:${HEX}`, `SHA256:${HEX.toUpperCase()}`])('is the same key as %s', (entry) => {
    expect(parseKey(entry)).toEqual(parseKey(KEY));
  });

  it.each([
    [`alice:${KEY}`, KEY],
    [`alice:sha256:${HEX}`, KEY],
    ['alice:a:key:of:older:times', 'a:key:of:older:times'],
    ['alice:another-key-while-keys-change', 'another-key-while-keys-change'],
  ])('with a name is the tenant of that name: %s', (entry, key) => {
    expect(parseKey(entry)).toMatchObject({ tenantId: 'name-alice', digest: digestOf(key) });
  });

  it('that is short is weak; of a digest nobody knows', () => {
    expect(parseKey('hunter2').weak).toBe(true);
    expect(parseKey('a:123456789012345').weak).toBe(true);
    expect(parseKey('a:1234567890123456').weak).toBe(false);
    expect(parseKey(`sha256:${HEX}`).weak).toBe(false);
  });

  it.each([
    ['canary with a blank', 'printable ASCII'],
    ['alice:', 'printable ASCII'],
    ['canary-é', 'printable ASCII'],
    ['sha256:canary', '64 hex digits'],
    [`sha256:${HEX}0`, '64 hex digits'],
    [`sha256:${HEX}:x`, '64 hex digits'],
    ['alice:sha256:canary', '64 hex digits'],
    ['canary.name:key', 'no name'],
    [':canary', 'no name'],
    [`${'c'.repeat(33)}:canary`, 'no name'],
  ])('that is wrong is not repeated: %s', (entry, reason) => {
    const parse = () => parseKey(entry);
    expect(parse).toThrow(KeyFault);
    expect(parse).toThrow(reason);
    expect(parse).not.toThrow(/canary/);
  });
});

describe('a file', () => {
  it('has a key per line, comments, and limits behind keys', () => {
    const keys = parseKeyFile(
      `\uFEFF# team\r\n\r\n  alice:${KEY}  streams=4 requests-per-minute=60\r\nbob-has-no-name-0123 characters-per-minute=0 audio-seconds-per-minute=600\n`,
    );
    expect(keys.map(({ tenantId, limits }) => [tenantId.slice(0, 10), limits])).toEqual([
      ['name-alice', { streams: 4, requestsPerMinute: 60 }],
      [
        `key-${digestOf('bob-has-no-name-0123').toString('hex', 0, 3)}`,
        { charactersPerMinute: 0, audioSecondsPerMinute: 600 },
      ],
    ]);
  });

  it.each([
    ['', 'it has no key'],
    ['# alice\n\n', 'it has no key'],
    [`${KEY}\nsha256:canary`, 'line 2: sha256: must be'],
    [`a:${KEY}\n\n# b\nb: canary-key-behind-a-blank`, 'line 4: the key must be'],
    [`${KEY} canary`, 'line 1: unknown limit; known: requests-per-minute,'],
    [`${KEY} constructor=1`, 'line 1: unknown limit'],
    [`${KEY} streams=canary`, 'line 1: streams must be a whole number'],
    [`${KEY} streams=`, 'line 1: streams must be a whole number'],
    [`${KEY}\nalice:${KEY}`, 'a key stands in it twice'],
  ])('that is wrong names the line and no key: %j', (text, reason) => {
    const parse = () => parseKeyFile(text);
    expect(parse).toThrow(KeyFault);
    expect(parse).toThrow(reason);
    expect(parse).not.toThrow(/canary|sk-right/);
  });
});
