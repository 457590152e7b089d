import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Forks, not threads: tests change their working directory and umask, and mount.
    pool: 'forks',
    testTimeout: 60_000,
    hookTimeout: 60_000,
    sequence: { hooks: 'list' },
  },
});
