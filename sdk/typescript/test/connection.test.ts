// Only in Node.js: whether a request may have been sent.

import { isQuartetError, Quartet } from "@quartet/client";
import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { WebSocketServer } from "ws";
import { QUICK } from "./harness/scenario.js";

/** The number of attempts of a login to this port before it fails. */
async function loginAttempts(port: number): Promise<number> {
  let attempts = 0;
  const quartet = new Quartet({
    url: `http://127.0.0.1:${port}`,
    retry: QUICK,
    fetch: (request) => {
      attempts += 1;
      return fetch(request);
    },
  });
  const login = quartet.login({ email: "a@example.org", password: "b" });
  const error = await login.catch((reason: unknown) => reason);
  expect(isQuartetError(error, "connection_failed")).toBe(true);
  return attempts;
}

test("a login is retried only if the connection could not be opened", async () => {
  const server = createServer((socket) => socket.once("data", () => socket.destroy()));
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  expect(await loginAttempts(port)).toBe(1);
  await new Promise((done) => server.close(done));
  expect(await loginAttempts(port)).toBe(4);
});

test("a service that accepts sockets and closes them is not asked without an end", async () => {
  let sockets = 0;
  const handleProtocols = () => "graphql-transport-ws";
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, handleProtocols });
  server.on("connection", (socket) => {
    sockets += 1;
    socket.once("message", () => {
      socket.send(JSON.stringify({ type: "connection_ack" }));
      socket.close(1013);
    });
  });
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const quartet = new Quartet({
    url: `http://127.0.0.1:${port}`,
    retry: { ...QUICK, maxReconnects: 2 },
  });
  const clicks = quartet.links.clicks("lnk_00000000000000000000000000");
  const error = await clicks.next().catch((reason: unknown) => reason);
  expect(isQuartetError(error, "subscription_closed")).toBe(true);
  expect(sockets).toBe(3);
  await new Promise((done) => server.close(done));
});
