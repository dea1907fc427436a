import type { StreamEntry } from '@antiphon/shared/streams/stream-event';
import { expect, it } from 'vitest';
import { PhraseOrder } from './phrase-order.ts';

let seq = 0;
const delta = (phraseIndex: number, content: string): StreamEntry => ({
  seq: (seq += 1),
  terminal: false,
  sizeBytes: content.length,
  event: { type: 'audio-delta', phraseIndex, chunkIndex: 0, pcm: Buffer.from(content) },
});
const end = (phraseIndex: number): StreamEntry => ({
  seq: (seq += 1),
  terminal: false,
  sizeBytes: 2,
  event: { type: 'audio-end', phraseIndex },
});
const taken = (order: PhraseOrder) => [...order.take()].map(({ pcm }) => pcm?.toString()).join('');

it('lets the phrase whose turn it is flow through', () => {
  const order = new PhraseOrder();
  order.add(delta(0, 'a'));
  expect(taken(order)).toBe('a');
  order.add(delta(0, 'b'));
  expect(taken(order)).toBe('b');
});

it('plays phrases in order when later ones are ready first', () => {
  const order = new PhraseOrder();
  for (const entry of [delta(2, 'e'), end(2), delta(1, 'c'), delta(1, 'd'), end(1)])
    order.add(entry);
  expect(taken(order)).toBe('');
  order.add(delta(0, 'a'));
  order.add(end(0));
  expect(taken(order)).toBe('acde');
  expect(order.firstWaitingSeq).toBeUndefined();
});

it('keeps only the place of what does not fit', () => {
  const order = new PhraseOrder();
  order.add(delta(1, 'x'.repeat(200_000)));
  order.add(delta(1, 'y'.repeat(200_000)));
  expect(order.firstWaitingSeq).toBeGreaterThan(0);
  order.add(end(0));
  const chunks = [...order.take()];
  expect(chunks.map(({ pcm }) => pcm?.length)).toEqual([200_000, undefined]);
  expect(chunks[1]?.seq).toBe(seq - 1);
});

it('gives memory back when the turn comes', () => {
  const order = new PhraseOrder();
  for (let phrase = 0; phrase < 10; phrase += 1) {
    order.add(delta(phrase + 1, 'x'.repeat(200_000)));
    order.add(end(phrase));
    expect([...order.take()].every(({ pcm }) => pcm?.length === 200_000)).toBe(true);
  }
});

it('counts what was not taken yet as waiting, also while it is being taken', () => {
  const order = new PhraseOrder();
  const entries = [delta(0, 'a'), delta(0, 'b'), delta(0, 'c')];
  for (const entry of entries) order.add(entry);
  const waiting: (number | undefined)[] = [];
  for (const { seq: takenSeq } of order.take()) {
    expect(order.firstWaitingSeq ?? Infinity).toBeGreaterThan(takenSeq);
    waiting.push(order.firstWaitingSeq);
  }
  expect(waiting).toEqual([entries[1]?.seq, entries[2]?.seq, undefined]);
});
