// What only Node.js can tell: whether a request can have been sent at all.

import { isQuartetError, Quartet } from "@quartet/client";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { QUICK } from "./harness/scenario.js";

/** How often a login is sent to this port before it fails. */
async function triesOfLogin(port: number): Promise<number> {
  let tries = 0;
  const quartet = new Quartet({
    url: `http://127.0.0.1:${port}`,
    retry: QUICK,
    fetch: (request) => {
      tries += 1;
      return fetch(request);
    },
  });
  const login = quartet.login({ email: "a@example.org", password: "b" });
  const error = await login.catch((reason: unknown) => reason);
  expect(isQuartetError(error, "connection_failed")).toBe(true);
  return tries;
}

test("a login is repeated when the connection could not be made, and only then", async () => {
  const server = createServer((socket) => socket.once("data", () => socket.destroy()));
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  expect(await triesOfLogin(port)).toBe(1);
  await new Promise((done) => server.close(done));
  expect(await triesOfLogin(port)).toBe(4);
});
