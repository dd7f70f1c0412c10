import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // They wait more than they work.
    maxWorkers: 3,
    // Each file has a proxy of its own whose faults its tests set in turn.
    sequence: { concurrent: false },
  },
});
