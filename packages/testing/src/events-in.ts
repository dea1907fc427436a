/**
 * The events of an SSE body, each up to its empty line and as it came, comments among them; a byte
 * is a letter. Rejects where the connection breaks; leaving the loop closes it.
 */
export async function* eventsIn(body: AsyncIterable<Uint8Array> | null): AsyncGenerator<string> {
  let waiting = '';
  for await (const part of body ?? []) {
    waiting += Buffer.from(part).toString('latin1');
    const whole = waiting.split('\n\n');
    waiting = whole.pop() ?? '';
    yield* whole;
  }
}

/** What stands behind `data: `; undefined: a comment alone. */
export function dataOf(event: string): string | undefined {
  return /^data: (.*)$/m.exec(event)?.[1];
}
