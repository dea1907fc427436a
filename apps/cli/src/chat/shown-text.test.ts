import { expect, it } from 'vitest';
import { createShownText } from './shown-text.ts';

type Delta = { content: string } | { transcript: string };

function show(deltas: Delta[]): string {
  const pieces: string[] = [];
  const shown = createShownText((text) => pieces.push(text));
  for (const delta of deltas) {
    if ('content' in delta) shown.content(delta.content);
    else shown.transcript(delta.transcript);
  }
  expect(pieces.join('')).toBe(shown.text);
  return shown.text;
}

it('a text answer is its content, as it is', () => {
  expect(show([{ content: '' }, { content: 'a' }, { content: '\n\n\n b' }])).toBe('a\n\n\n b');
});

it('a spoken answer is its words, as they are', () => {
  expect(show([{ transcript: 'A.' }, { transcript: ' B.' }, { transcript: '\n\nC.' }])).toBe(
    'A. B.\n\nC.',
  );
});

it.each([
  ['So:', '```\nx\n```', ' Done.', 'So:\n```\nx\n```\n Done.'],
  ['So:', '```\nx\n```\n', '\n\nDone.', 'So:\n```\nx\n```\n\nDone.'],
  ['So:', '\n\n  x\n', 'Done.', 'So:\n\n  x\nDone.'],
  ['So:\n', 'x\n\n\n', '\nDone.', 'So:\nx\n\n\nDone.'],
])('words %j, code %j and words %j stand on their own lines', (first, code, then, text) => {
  expect(show([{ transcript: first }, { content: code }, { transcript: then }])).toBe(text);
});

it('code in pieces is not torn apart', () => {
  const code = [{ content: '```\n' }, { content: 'x' }, { content: '\n' }, { content: '```' }];
  expect(show([{ transcript: 'So: ' }, ...code])).toBe('So: \n```\nx\n```');
});

it('what comes as text and as words is shown once', () => {
  const words = [{ transcript: 'Hello there.' }, { transcript: ' Bye.' }];
  expect(show([{ content: 'Hello **there**. Bye.' }, ...words])).toBe('Hello **there**. Bye.');
});

it('words that also stand in code before them are words', () => {
  expect(show([{ content: 'print("hello")\n' }, { transcript: 'hello' }])).toBe(
    'print("hello")\nhello',
  );
});
