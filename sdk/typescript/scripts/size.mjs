// The size of bundles of this package, minified and gzipped, in bytes.

import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const root = join(import.meta.dirname, "..");
const IMPORTS = {
  createClient: 'export { createClient } from "@quartet/client";',
  "createClient and getMe": 'export { createClient, getMe } from "@quartet/client";',
  "createClient, login, upload": 'export { createClient, login, upload } from "@quartet/client";',
  "Quartet (everything but unused operations)": 'export { Quartet } from "@quartet/client";',
};

export async function sizes() {
  const found = [];
  for (const [name, contents] of Object.entries(IMPORTS)) {
    const { outputFiles } = await build({
      stdin: { contents, resolveDir: root },
      bundle: true,
      minify: true,
      format: "esm",
      platform: "browser",
      target: "es2022",
      write: false,
    });
    const [{ contents: bytes }] = outputFiles;
    found.push({ name, minified: bytes.length, gzipped: gzipSync(bytes, { level: 9 }).length });
  }
  return found;
}

if (process.argv[1] === import.meta.filename) console.table(await sizes());
