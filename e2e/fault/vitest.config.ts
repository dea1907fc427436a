import { defineConfig } from 'vitest/config';

/** As many files at once as there are cores: they mostly wait (two cores: 5 minutes in place of 8). */
export default defineConfig({
  test: {
    include: ['fault/*.test.ts'],
    maxWorkers: process.env['TEST_WORKERS'] || '100%',
    testTimeout: 120_000,
    hookTimeout: 90_000,
    reporters: ['default'],
  },
});
