import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { chromium, type BrowserContext, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Proxy } from "./harness/proxy.js";
import { groups } from "./live/all.js";

const target = process.env["QUARTET_URL"];
const BROWSER = process.env["QUARTET_CHROMIUM"] ?? "/usr/bin/chromium";
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** The scenarios and the package, bundled as for a page. */
async function bundle(): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [join(import.meta.dirname, "harness/page.ts")],
    bundle: true,
    format: "esm",
    platform: "browser",
    target: "es2022",
    write: false,
  });
  return outputFiles[0]!.text;
}

describe.skipIf(!target)("in Chromium", () => {
  let proxy: Proxy;
  let profile: string;
  let context: BrowserContext;
  let page: Page;
  const broken: string[] = [];

  beforeAll(async () => {
    // The page is served by the proxy, from the same origin as the API.
    proxy = new Proxy(target ?? "", {
      "/__test/page": {
        type: "text/html",
        body: '<script type="module" src="bundle.js"></script>',
      },
      "/__test/bundle.js": { type: "text/javascript", body: await bundle() },
    });
    const url = await proxy.start();
    profile = await mkdtemp(join(tmpdir(), "quartet-chromium-"));
    context = await chromium.launchPersistentContext(profile, {
      executablePath: BROWSER,
      args: FLAGS,
    });
    page = await context.newPage();
    page.on("pageerror", (error) => broken.push(String(error)));
    await page.goto(`${url}/__test/page`);
    await page.waitForFunction(() => "runScenario" in globalThis);
  });

  afterAll(async () => {
    await context?.close();
    await proxy?.stop();
    await rm(profile, { recursive: true, force: true });
  });

  for (const [group, scenarios] of Object.entries(groups)) {
    describe(group, () => {
      for (const name of Object.keys(scenarios)) {
        test(name, async ({ skip }) => {
          const names = [group, name] as const;
          const outcome = await page.evaluate(([group, name]) => runScenario(group, name), names);
          expect(broken).toEqual([]);
          if (outcome) skip(outcome.skipped);
        });
      }
    });
  }
});
