// Only in Node.js: files on disk.

import { isQuartetError } from "@quartet/client";
import { openAsBlob } from "node:fs";
import { appendFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Faults } from "./harness/faults.js";
import { Proxy } from "./harness/proxy.js";
import { loggedInUser, type TestStack } from "./harness/scenario.js";

const target = process.env["QUARTET_URL"];

describe.skipIf(!target)("a file on disk", () => {
  const proxy = new Proxy(target ?? "http://localhost");
  let stack: TestStack;
  let directory: string;
  let path: string;

  beforeAll(async () => {
    const url = await proxy.start();
    stack = { url, faults: new Faults(url) };
    directory = await mkdtemp(join(tmpdir(), "quartet-files-"));
    path = join(directory, "notes.txt");
    await writeFile(path, "quartet\n".repeat(500_000));
  });
  afterAll(async () => {
    await proxy.stop();
    await rm(directory, { recursive: true, force: true });
  });

  test("is uploaded", async () => {
    const { media } = await loggedInUser(stack);
    const asset = await media.upload(await openAsBlob(path, { type: "text/plain" }), {
      fileName: "notes.txt",
    });
    expect(asset).toMatchObject({ status: "ready", size_bytes: 4_000_000 });
  });

  test("that changes during the upload is not sent again", async () => {
    const { media } = await loggedInUser(stack);
    const file = await openAsBlob(path, { type: "text/plain" });
    await appendFile(path, "more");
    const error = await media.upload(file).catch((reason: unknown) => reason);
    expect(isQuartetError(error, "file_changed")).toBe(true);
  });
});
