import { expect, it } from 'vitest';
import { batchSentences } from './batch-text.ts';

it('gives each line a sentence of its own, the same ones again', () => {
  const sentences = batchSentences(500);
  expect(new Set(sentences).size).toBe(500);
  expect(batchSentences(500)).toEqual(sentences);
  for (const sentence of sentences) {
    expect(sentence.length).toBeGreaterThan(50);
    expect(sentence.length).toBeLessThan(160);
  }
});
