// The published package: its types, its example, its size.

import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { sizes } from "../scripts/size.mjs";

const run = promisify(execFile);
const root = join(import.meta.dirname, "..");
const blocks = async () =>
  [...(await readFile(join(root, "README.md"), "utf8")).matchAll(/^```ts\n(.*?)^```$/gms)].map(
    ([, code]) => code!,
  );

describe("a project that uses the package", () => {
  let project: string;

  beforeAll(async () => {
    project = await mkdtemp(join(root, ".test-project-"));
    await mkdir(join(project, "node_modules/@quartet"), { recursive: true });
    await symlink(root, join(project, "node_modules/@quartet/client"));
    await writeFile(join(project, "package.json"), '{ "type": "module" }');
  });
  afterAll(() => rm(project, { recursive: true, force: true }));

  test("compiles the README's examples, strictly and without Node.js's types", async () => {
    const globals = "declare const process: { env: Record<string, string | undefined> };\n";
    await writeFile(join(project, "globals.d.ts"), globals);
    for (const [index, code] of (await blocks()).entries()) {
      await writeFile(join(project, `example-${index}.ts`), code);
    }
    const compilerOptions = {
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      module: "esnext",
      moduleResolution: "bundler",
      target: "es2022",
      lib: ["es2023", "dom", "dom.iterable"],
      types: [],
      noEmit: true,
    };
    const config = { compilerOptions, include: ["*.ts"] };
    await writeFile(join(project, "tsconfig.json"), JSON.stringify(config));
    const compiler = join(root, "node_modules/typescript/bin/tsc");
    const compiled = await run("node", [compiler, "-p", project]).catch((error) => error);
    expect(compiled.stdout).toBe("");
  });

  test.skipIf(!process.env["QUARTET_URL"])("runs the README's example", async () => {
    const [code] = await blocks();
    await writeFile(join(project, "tour.mjs"), code!);
    const { stdout } = await run("node", [join(project, "tour.mjs")], { timeout: 30_000 });
    const lines = stdout.trim().split("\n");
    expect(lines).toContain("13 of 13 bytes");
    expect(lines).toContain("hello.txt 13");
    expect(lines.some((line) => /^ready http/.test(line))).toBe(true);
    expect(lines.some((line) => /^click \d+ from a [A-Z]+$/.test(line))).toBe(true);
    expect(lines.at(-1)).toMatch(/^slug_taken 200 [0-9a-f-]{36}$/);
  });
});

test("sizes are within the limits of the README", async () => {
  const table = (await readFile(join(root, "README.md"), "utf8")).matchAll(/ (\d+\.\d) kB \|$/gm);
  const limits = [...table].map(([, kilobytes]) => Number(kilobytes));
  const measured = (await sizes()).map(({ gzipped }) => gzipped / 1000);
  expect(limits).toHaveLength(measured.length);
  for (const [index, size] of measured.entries()) expect(size).toBeLessThanOrEqual(limits[index]!);
});

test("the package contains only the build", async () => {
  const { stdout } = await run("npm", ["pack", "--dry-run", "--json", "--silent"], { cwd: root });
  const packed = JSON.parse(stdout);
  const { files } = Array.isArray(packed) ? packed[0] : Object.values(packed)[0];
  const places = files.map(({ path }: { path: string }) => path.split("/")[0]);
  expect([...new Set(places)].sort()).toEqual(["README.md", "dist", "package.json"]);
});
