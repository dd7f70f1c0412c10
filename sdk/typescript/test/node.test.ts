import { afterAll, beforeAll, describe, test } from "vitest";
import { Faults } from "./harness/faults.js";
import { Proxy } from "./harness/proxy.js";
import type { TestStack } from "./harness/scenario.js";
import { groups } from "./live/all.js";

const target = process.env["QUARTET_URL"];

describe.skipIf(!target)("in Node.js", () => {
  const proxy = new Proxy(target ?? "http://localhost");
  let stack: TestStack;
  beforeAll(async () => {
    const url = await proxy.start();
    stack = { url, faults: new Faults(url) };
  });
  afterAll(() => proxy.stop());

  for (const [group, scenarios] of Object.entries(groups)) {
    describe(group, () => {
      for (const [name, scenario] of Object.entries(scenarios)) {
        test(name, async ({ skip }) => {
          const outcome = await scenario(stack);
          if (outcome) skip(outcome.skipped);
        });
      }
    });
  }
});
