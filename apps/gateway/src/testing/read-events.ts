/** Events of an answer, each up to its empty line, comments left out; cut off behind `most` of them. */
export async function readEvents(response: Response, most = Infinity): Promise<string[]> {
  const events: string[] = [];
  let waiting = '';
  const reader = response.body?.getReader();
  try {
    for (;;) {
      if (events.length >= most) return events.slice(0, most);
      const { value, done } = (await reader?.read()) ?? { value: undefined, done: true };
      if (done) return events;
      waiting = (waiting + Buffer.from(value ?? []).toString('latin1')).replace(/^(: .*\n)+/, '');
      const whole = waiting.split('\n\n');
      waiting = whole.pop() ?? '';
      events.push(...whole.map((event) => event.replace(/^(: .*\n)+/, '')));
    }
  } finally {
    await reader?.cancel().catch(() => undefined); // closes the connection
  }
}

const ID = /^id: (\d+)\n/;

export const withoutId = (event: string): string => event.replace(ID, '');
export const idOf = (event: string): number => Number(ID.exec(event)?.[1] ?? Number.NaN);
