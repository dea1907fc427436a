import { expect, test } from 'vitest';
import { demoAnswer } from './demo-answer.ts';

const NOON = new Date(2026, 10, 21, 12, 34);
const answer = (prompt: string): string => demoAnswer(prompt, NOON);

test.each([
  ['Hello there', /^Hello! I am antiphon's demo model/],
  ['Who are you?', /demo model: a set of rules/],
  ['what can you do', /arithmetic/],
  ['What time is it?', /^It is 12:34\sPM/],
  ["what's the date", /^Today is Saturday, November 21, 2026\.$/],
  ['what day is it today?', /Saturday/],
  ['what is 12 times 7?', /^12 times 7 is 84\.$/],
  ['1/0', /nothing can be divided by zero/],
  ['what is 9^999', /too large/],
  ['Count to 5, please', /^1, 2, 3, 4, 5\.$/],
  ['count to 999999', /100 at most/],
  ['Tell me a story', /lighthouse/],
  ['Say exactly: Peter Piper', /^Peter Piper$/],
  ['Thanks!', /welcome/],
  ['bye', /Goodbye/],
  ['', /sent me no text/],
])('%s', (prompt, expected) => {
  expect(answer(prompt)).toMatch(expected);
});

test.each([
  ['write hello world in python', 'python', 'print('],
  ['Hello world in JavaScript please', 'javascript', 'console.log'],
  ['show me a Java program', 'java', 'public class'],
  ['write some code', 'python', 'print('],
  ['write a function in Rust that sorts', 'rust', 'println!'],
])('%s: one fenced block', (prompt, fence, code) => {
  const blocks = [...answer(prompt).matchAll(/^```(\w*)\n([^]*?)\n```$/gm)];
  expect(blocks).toHaveLength(1);
  expect(blocks[0]?.[1]).toBe(fence);
  expect(blocks[0]?.[2]).toContain(code);
});

test('repeats what it has no rule for, briefly and labelled', () => {
  expect(answer('My cat\n likes tea')).toMatch(
    /demo model.*You said: "My cat likes tea" I have no rule.*AI_SERVICE=openai/s,
  );
  expect(answer('😀'.repeat(10_000)).length).toBeLessThan(1000);
  expect(answer('😀'.repeat(10_000)).isWellFormed()).toBe(true);
});
