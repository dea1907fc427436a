import { expect, it } from 'vitest';
import { parseConfig } from '../config.ts';

const SECRET = `whsec_${Buffer.alloc(24, 7).toString('base64')}`;
const parse = (BATCH_WEBHOOK_URL: string, BATCH_WEBHOOK_SECRET = SECRET) =>
  parseConfig({ BATCH_WEBHOOK_URL, BATCH_WEBHOOK_SECRET });

it.each([
  'https://hooks.example.com/batches?from=antiphon',
  'https://198.51.100.7/',
  'http://localhost:9000/',
  'http://127.0.0.1:9000/',
  'http://[::1]:9000/',
  'http://10.1.2.3/',
  'http://172.31.0.1/',
  'http://192.168.1.20:8080/hook',
  'http://[fd00::1]/',
  'http://receiver:8080/hook',
  'http://receiver.default.svc.cluster.local/hook',
])('events may go to %s', (url) => {
  expect(parse(url).BATCH_WEBHOOK_URL).toBe(url);
});

it.each([
  ['hooks.example.com', 'is not a URL'],
  ['ftp://hooks.example.com/', 'must begin with https://'],
  ['http://hooks.example.com/', 'for loopback and private hosts'],
  ['http://8.8.8.8/', 'for loopback and private hosts'],
  ['http://172.32.0.1/', 'for loopback and private hosts'],
  ['http://[2001:db8::1]/', 'for loopback and private hosts'],
  ['http://127.0.0.1.example.com/', 'for loopback and private hosts'],
  ['https://me:secret@hooks.example.com/', 'no user name'],
])('events may not go to %s', (url, fault) => {
  expect(() => parse(url)).toThrow(`BATCH_WEBHOOK_URL: ${fault}`.slice(0, 18));
  expect(() => parse(url)).toThrow(fault);
});

it.each([SECRET, `whsec_${Buffer.alloc(16, 7).toString('base64')}`, 'sixteen-letters!'])(
  'the secret may be %s',
  (secret) => {
    expect(parse('https://hooks.example.com/', secret).BATCH_WEBHOOK_SECRET).toBe(secret);
  },
);

it.each([
  `whsec_${Buffer.alloc(15, 7).toString('base64')}`,
  'whsec_not-base64-at-all!',
  `${SECRET}=`,
  'fifteen-letters',
  'sixteen letters!!',
])('the secret may not be %s', (secret) => {
  expect(() => parse('https://hooks.example.com/', secret)).toThrow(
    'BATCH_WEBHOOK_SECRET: must be',
  );
});

it('a receiver needs a secret', () => {
  expect(() => parseConfig({ BATCH_WEBHOOK_URL: 'https://hooks.example.com/' })).toThrow(
    'BATCH_WEBHOOK_SECRET: needed',
  );
});
