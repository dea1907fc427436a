type Fields = Record<string, unknown>;

/**
 * Joins deltas to one message, as the official SDKs do: texts are appended, tool calls by their
 * `index`, everything else is replaced.
 */
export function mergeDelta(message: Fields, delta: Fields): void {
  for (const [name, value] of Object.entries(delta)) {
    if (name === 'tool_calls' && Array.isArray(value)) {
      message[name] = mergeToolCalls((message[name] ?? []) as Fields[], value as Fields[]);
    } else {
      message[name] = joined(message[name], value);
    }
  }
}

function mergeToolCalls(calls: Fields[], deltas: Fields[]): Fields[] {
  for (const { index, ...delta } of deltas) {
    const at = typeof index === 'number' ? index : calls.length;
    const call = (calls[at] ??= {});
    const { function: called, ...rest } = delta as { function?: Fields };
    Object.assign(call, rest); // id and type come once, whole
    if (called) {
      const known = (call['function'] ??= {}) as Fields;
      for (const [name, value] of Object.entries(called)) known[name] = joined(known[name], value);
    }
  }
  return calls;
}

const joined = (known: unknown, value: unknown): unknown =>
  typeof known === 'string' && typeof value === 'string' ? known + value : value;
