/** Longer lines are none of a batch's. */
const MOST_LINE_CHARACTERS = 64 * 1024 * 1024;

/** The lines of a text that comes as bytes; blank ones are left out. Throws a SyntaxError for what has no lines. */
export async function* textLines(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  // Joined once per line, since a line may come in thousands of parts.
  let parts: string[] = [];
  let characters = 0;
  for await (const part of bytes) {
    const [first = '', ...more] = decoder.decode(part, { stream: true }).split('\n');
    parts.push(first);
    characters += first.length;
    if (characters > MOST_LINE_CHARACTERS) throw new SyntaxError('a line without an end');
    for (const begun of more) {
      const line = parts.join('');
      if (line.trim() !== '') yield line;
      parts = [begun];
      characters = begun.length;
    }
  }
  const last = parts.join('') + decoder.decode();
  if (last.trim() !== '') yield last;
}
