import { createSession, createUser, getMe, presignUpload, Quartet } from "@quartet/client";
import { expect } from "chai";
import {
  newEmail,
  failure,
  PASSWORD,
  QUICK,
  loggedInUser,
  signedUpUser,
  type Scenarios,
} from "../harness/scenario.js";

const ME = "/v1/core/users/me";
const LOGIN = "/v1/core/sessions";
const FILE = {
  file_name: "a.txt",
  content_type: "text/plain",
  size_bytes: 3,
  visibility: "private",
} as const;

export const cuts: Scenarios = {
  "reads are retried after every kind of broken connection": async (stack) => {
    const { account } = await loggedInUser(stack);
    for (const kind of ["cut-before", "cut-after", "cut-during"] as const) {
      await stack.faults.set({ path: ME, kind, times: 2 });
      expect(await account.get()).to.have.property("id");
      expect(await stack.faults.log(ME)).to.have.lengthOf(3);
    }
  },

  "the last error is thrown after all retries": async (stack) => {
    const { client } = await loggedInUser(stack);
    await stack.faults.set({ path: ME, kind: "cut-before", times: 9 });
    const error = await failure(getMe({ client, meta: { maxRetries: 2 } }));
    expect(error).to.include({
      code: "connection_failed",
      status: undefined,
      requestId: undefined,
    });
    expect(error.cause).to.be.an("error");
    expect(await stack.faults.log(ME)).to.have.lengthOf(3);
  },

  "a login whose response is lost is not retried": async (stack) => {
    const { quartet, email } = await signedUpUser(stack);
    await stack.faults.set({ path: LOGIN, kind: "cut-after" });
    const error = await failure(quartet.login({ email, password: PASSWORD }));
    expect(error.code).to.equal("connection_failed");
    expect(await stack.faults.log(LOGIN, "POST")).to.have.lengthOf(1);
  },

  "a keyed POST is retried with the same key and takes effect once": async (stack) => {
    const { client, media } = await loggedInUser(stack);
    const presign = "/v1/media/presign";
    await stack.faults.set(
      { path: presign, kind: "cut-after" },
      { path: presign, kind: "cut-during" },
    );
    const { asset } = await presignUpload({ client, body: FILE });
    const sent = await stack.faults.log(presign);
    expect(sent.map(({ status }) => status)).to.deep.equal([201, 201, 201]);
    expect(sent[0]!.key).to.match(/^[0-9a-f]{32}$/);
    expect(new Set(sent.map(({ key }) => key)).size).to.equal(1);
    const assets = await media.assets().toArray();
    expect(assets.map(({ id }) => id)).to.deep.equal([asset.id]);
    await presignUpload({ client, body: FILE });
    expect((await stack.faults.log(presign)).at(-1)!.key).not.to.equal(sent[0]!.key);
  },

  "a custom idempotency key is used": async (stack) => {
    const { client } = await loggedInUser(stack);
    const body = { email: newEmail(), password: PASSWORD };
    const headers = { "Idempotency-Key": `mine-${newEmail()}` };
    const first = await createUser({ client, body, headers });
    expect(await createUser({ client, body, headers })).to.deep.equal(first);
    const error = await failure(
      createUser({ client, body: { ...body, email: newEmail() }, headers }),
    );
    expect([error.code, error.status]).to.deep.equal(["idempotency_key_reused", 422]);
  },

  "429 is retried for every request": async (stack) => {
    const { quartet, email } = await signedUpUser(stack);
    const busy = { kind: "answer", status: 429, headers: { "retry-after": "1" } } as const;
    await stack.faults.set({ path: LOGIN, ...busy });
    const began = Date.now();
    await quartet.login({ email, password: PASSWORD });
    expect(Date.now() - began).to.be.within(1000, 20_000);
    expect(await stack.faults.log(LOGIN)).to.have.lengthOf(2);
  },

  "a long Retry-After is thrown": async (stack) => {
    const { account } = await loggedInUser(stack);
    const body = JSON.stringify({
      code: "rate_limited",
      title: "Too many requests",
      request_id: "r-1",
    });
    const headers = { "retry-after": "300", "content-type": "application/problem+json" };
    await stack.faults.set({ path: ME, kind: "answer", status: 429, headers, body });
    const error = await failure(account.get());
    expect(error).to.include({ code: "rate_limited", retryAfterSeconds: 300, requestId: "r-1" });
    expect(await stack.faults.log(ME)).to.have.lengthOf(1);
  },

  "503 is retried, except for a login": async (stack) => {
    const { quartet, email } = await signedUpUser(stack);
    await stack.faults.set({ path: LOGIN, kind: "answer", status: 503 });
    const error = await failure(quartet.login({ email, password: PASSWORD }));
    expect(error).to.include({ code: "unexpected_response", status: 503 });
    expect(await stack.faults.log(LOGIN)).to.have.lengthOf(1);
    await quartet.login({ email, password: PASSWORD });
    await stack.faults.set({ path: ME, kind: "answer", status: 503, times: 2 });
    await quartet.account.get();
    expect(await stack.faults.log(ME)).to.have.lengthOf(3);
  },

  "a login that reached no replica is retried": async (stack) => {
    const { quartet, email } = await signedUpUser(stack);
    const body = JSON.stringify({ code: "upstream_unreachable", request_id: "r-1" });
    const headers = { "content-type": "application/problem+json" };
    await stack.faults.set({ path: LOGIN, kind: "answer", status: 503, headers, body, times: 2 });
    await quartet.login({ email, password: PASSWORD });
    expect(await stack.faults.log(LOGIN)).to.have.lengthOf(3);
  },

  "the page of a proxy is an unexpected answer": async (stack) => {
    const { account } = await loggedInUser(stack);
    await stack.faults.set({ path: ME, kind: "answer", status: 418, body: "<html>teapot</html>" });
    expect(await failure(account.get())).to.include({ code: "unexpected_response", status: 418 });
    const headers = { "content-type": "application/json" };
    await stack.faults.set({ path: ME, kind: "answer", status: 200, headers, body: "<html>" });
    expect(await failure(account.get())).to.include({ code: "unexpected_response" });
  },

  "a silent connection times out": async (stack) => {
    const { client } = await loggedInUser(stack);
    await stack.faults.set({ path: ME, kind: "silence", times: 9 });
    const began = Date.now();
    const error = await failure(getMe({ client, meta: { timeoutMs: 100, maxRetries: 1 } }));
    expect(error.code).to.equal("timed_out");
    expect(Date.now() - began).to.be.within(200, 20_000);
    expect(await stack.faults.log(ME)).to.have.lengthOf(2);
    // The timeout applies to one attempt: the next one may succeed.
    await stack.faults.set({ path: ME, kind: "silence" });
    await getMe({ client, meta: { timeoutMs: 2000 } });
  },

  "a signal aborts a call with its own reason": async (stack) => {
    const { account } = await loggedInUser(stack);
    const controller = new AbortController();
    await stack.faults.set({ path: ME, kind: "silence", times: 9 });
    const call = account.get({ signal: controller.signal }).catch((reason: unknown) => reason);
    const reason = new Error("enough");
    while ((await stack.faults.log(ME)).length === 0);
    controller.abort(reason);
    expect(await call).to.equal(reason);
    expect(await stack.faults.log(ME)).to.have.lengthOf(1);
  },

  "a signal aborts a pause between attempts": async (stack) => {
    const { account } = await loggedInUser(stack);
    const controller = new AbortController();
    const headers = { "retry-after": "30" };
    await stack.faults.set({ path: ME, kind: "answer", status: 429, headers });
    const call = account.get({ signal: controller.signal }).catch((reason: unknown) => reason);
    while ((await stack.faults.log(ME)).length === 0);
    controller.abort();
    expect(await call).to.have.property("name", "AbortError");
  },

  "an unreachable server": async () => {
    const quartet = new Quartet({ url: "http://localhost:1", retry: QUICK });
    const error = await failure(quartet.login({ email: "a@example.org", password: PASSWORD }));
    expect(error.code).to.equal("connection_failed");
    const { client } = quartet;
    const body = { email: "a@example.org", password: PASSWORD };
    expect(await failure(createSession({ client, body }))).to.include({
      code: "connection_failed",
    });
  },
};
