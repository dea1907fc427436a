import { expect, it } from 'vitest';
import { dataOf, eventsIn } from './events-in.ts';

const body = (...parts: string[]) =>
  new Response(
    new ReadableStream({
      start(controller) {
        for (const part of parts) controller.enqueue(new TextEncoder().encode(part));
        controller.close();
      },
    }),
  ).body;

async function all(...parts: string[]): Promise<string[]> {
  const events: string[] = [];
  for await (const event of eventsIn(body(...parts))) events.push(event);
  return events;
}

it('gives whole events, however they were cut, and no half one', async () => {
  const events = ['data: a', ': hb\nid: 2\ndata: b'];
  expect(await all('data: a\n\n: hb\nid: 2\ndata: b\n\ndata: c')).toEqual(events);
  expect(await all('da', 'ta: a\n', '\n: hb\nid: 2\nd', 'ata: b\n\n')).toEqual(events);
  expect(await all()).toEqual([]);
});

it('finds the data of an event', () => {
  expect(dataOf('id: 1\ndata: {"a": 1}')).toBe('{"a": 1}');
  expect(dataOf(': data: none')).toBeUndefined();
});
