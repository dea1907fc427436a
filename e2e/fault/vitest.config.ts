import { defineConfig } from 'vitest/config';

/** One file after the other: each has processes of its own, and two cores are soon full. */
export default defineConfig({
  test: {
    include: ['fault/*.test.ts'],
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 90_000,
    reporters: ['default'],
  },
});
