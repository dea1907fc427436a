import type { IncomingMessage } from 'node:http';
import { describe, expect, it } from 'vitest';
import { AdminAccess } from './admin-access.ts';

const KEY = 'admin-key-0123456789';

/** A request from an address with these headers. */
function request(remoteAddress: string, given: Record<string, string | string[]> = {}) {
  const distinct = Object.entries(given).map(([name, value]) => [name, [value].flat()] as const);
  return {
    socket: { remoteAddress },
    headersDistinct: Object.fromEntries(distinct),
    headers: Object.fromEntries(distinct.map(([name, [first]]) => [name, first])),
  } as unknown as IncomingMessage;
}
const basic = (pair: string) => `Basic ${Buffer.from(pair).toString('base64')}`;

describe('with an admin key', () => {
  const access = new AdminAccess(KEY);
  it.each<[string, Record<string, string>]>([
    ['Bearer', { authorization: `Bearer ${KEY}` }],
    ['bearer', { authorization: `bearer ${KEY}` }],
    ['x-api-key', { 'x-api-key': KEY }],
    ['a Basic password, of any user', { authorization: basic(`admin:${KEY}`) }],
    ['a Basic password, of no user', { authorization: basic(`:${KEY}`) }],
  ])('admits it as %s, from anywhere', (_as, headers) => {
    expect(access.judge(request('203.0.113.9', headers))).toBe('admitted');
  });

  it.each<[string, Record<string, string | string[]>]>([
    ['nothing', {}],
    ['another key', { authorization: 'Bearer other' }],
    ['its start', { authorization: `Bearer ${KEY.slice(0, -1)}` }],
    ['no scheme', { authorization: KEY }],
    ['two of them', { authorization: [`Bearer ${KEY}`, `Bearer ${KEY}`] }],
    ['one in each header', { authorization: `Bearer ${KEY}`, 'x-api-key': KEY }],
    ['a Basic user', { authorization: basic(`${KEY}:`) }],
    ['an empty password', { authorization: basic(':') }],
    ['nonsense', { authorization: 'Basic !!!' }],
  ])('refuses %s, also from this machine', (_what, headers) => {
    expect(access.judge(request('127.0.0.1', headers))).toBe('refused');
  });
});

describe('without an admin key', () => {
  const access = new AdminAccess(undefined);
  it.each(['127.0.0.1', '127.8.9.1', '::1', '::ffff:127.0.0.1'])('admits %s', (address) => {
    expect(access.judge(request(address))).toBe('admitted');
  });
  it.each(['203.0.113.9', '10.0.0.1', '::ffff:10.0.0.1', '', '1127.0.0.1'])(
    'is hidden from %s',
    (address) => {
      expect(access.judge(request(address))).toBe('hidden');
    },
  );
  it('is hidden from whom a proxy of this machine asks for', () => {
    expect(access.judge(request('127.0.0.1', { 'x-forwarded-for': '203.0.113.9' }))).toBe('hidden');
    expect(access.judge(request('::1', { forwarded: 'for=203.0.113.9' }))).toBe('hidden');
  });
});
