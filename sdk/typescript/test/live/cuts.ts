import { createSession, createUser, getMe, presignUpload, Quartet } from "@quartet/client";
import { expect } from "chai";
import {
  address,
  failure,
  PASSWORD,
  QUICK,
  somebody,
  stranger,
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
  "reading is repeated after every kind of cut": async (world) => {
    const { account } = await somebody(world);
    for (const kind of ["cut-before", "cut-after", "cut-during"] as const) {
      await world.faults.set({ path: ME, kind, times: 2 });
      expect(await account.get()).to.have.property("id");
      expect(await world.faults.log(ME)).to.have.lengthOf(3);
    }
  },

  "it gives up after the retries, with the cause": async (world) => {
    const { client } = await somebody(world);
    await world.faults.set({ path: ME, kind: "cut-before", times: 9 });
    const error = await failure(getMe({ client, meta: { maxRetries: 2 } }));
    expect(error).to.include({
      code: "connection_failed",
      status: undefined,
      requestId: undefined,
    });
    expect(error.cause).to.be.an("error");
    expect(await world.faults.log(ME)).to.have.lengthOf(3);
  },

  "a login whose answer is lost is not repeated": async (world) => {
    const { quartet, email } = await stranger(world);
    await world.faults.set({ path: LOGIN, kind: "cut-after" });
    const error = await failure(quartet.login({ email, password: PASSWORD }));
    expect(error.code).to.equal("connection_failed");
    expect(await world.faults.log(LOGIN, "POST")).to.have.lengthOf(1);
  },

  "a keyed POST is repeated under the same key and done once": async (world) => {
    const { client, media } = await somebody(world);
    const presign = "/v1/media/presign";
    await world.faults.set(
      { path: presign, kind: "cut-after" },
      { path: presign, kind: "cut-during" },
    );
    const { asset } = await presignUpload({ client, body: FILE });
    const sent = await world.faults.log(presign);
    expect(sent.map(({ status }) => status)).to.deep.equal([201, 201, 201]);
    expect(sent[0]!.key).to.match(/^[0-9a-f]{32}$/);
    expect(new Set(sent.map(({ key }) => key)).size).to.equal(1);
    const assets = await media.assets().toArray();
    expect(assets.map(({ id }) => id)).to.deep.equal([asset.id]);
    await presignUpload({ client, body: FILE });
    expect((await world.faults.log(presign)).at(-1)!.key).not.to.equal(sent[0]!.key);
  },

  "a key of one's own is kept": async (world) => {
    const { client } = await somebody(world);
    const body = { email: address(), password: PASSWORD };
    const headers = { "Idempotency-Key": `mine-${address()}` };
    const first = await createUser({ client, body, headers });
    expect(await createUser({ client, body, headers })).to.deep.equal(first);
    const error = await failure(
      createUser({ client, body: { ...body, email: address() }, headers }),
    );
    expect([error.code, error.status]).to.deep.equal(["idempotency_key_reused", 422]);
  },

  "a limit is waited for, even by what is not repeatable": async (world) => {
    const { quartet, email } = await stranger(world);
    const busy = { kind: "answer", status: 429, headers: { "retry-after": "1" } } as const;
    await world.faults.set({ path: LOGIN, ...busy });
    const began = Date.now();
    await quartet.login({ email, password: PASSWORD });
    expect(Date.now() - began).to.be.within(1000, 20_000);
    expect(await world.faults.log(LOGIN)).to.have.lengthOf(2);
  },

  "a long pause is told and not waited for": async (world) => {
    const { account } = await somebody(world);
    const body = JSON.stringify({
      code: "rate_limited",
      title: "Too many requests",
      request_id: "r-1",
    });
    const headers = { "retry-after": "300", "content-type": "application/problem+json" };
    await world.faults.set({ path: ME, kind: "answer", status: 429, headers, body });
    const error = await failure(account.get());
    expect(error).to.include({ code: "rate_limited", retryAfterSeconds: 300, requestId: "r-1" });
    expect(await world.faults.log(ME)).to.have.lengthOf(1);
  },

  "a passing 503 is repeated, but not for a login": async (world) => {
    const { quartet, email } = await stranger(world);
    await world.faults.set({ path: LOGIN, kind: "answer", status: 503 });
    const error = await failure(quartet.login({ email, password: PASSWORD }));
    expect(error).to.include({ code: "unexpected_answer", status: 503 });
    expect(await world.faults.log(LOGIN)).to.have.lengthOf(1);
    await quartet.login({ email, password: PASSWORD });
    await world.faults.set({ path: ME, kind: "answer", status: 503, times: 2 });
    await quartet.account.get();
    expect(await world.faults.log(ME)).to.have.lengthOf(3);
  },

  "a login that reached nobody is repeated": async (world) => {
    const { quartet, email } = await stranger(world);
    const body = JSON.stringify({ code: "upstream_unreachable", request_id: "r-1" });
    const headers = { "content-type": "application/problem+json" };
    await world.faults.set({ path: LOGIN, kind: "answer", status: 503, headers, body, times: 2 });
    await quartet.login({ email, password: PASSWORD });
    expect(await world.faults.log(LOGIN)).to.have.lengthOf(3);
  },

  "a page of a strange proxy is no answer": async (world) => {
    const { account } = await somebody(world);
    await world.faults.set({ path: ME, kind: "answer", status: 418, body: "<html>teapot</html>" });
    expect(await failure(account.get())).to.include({ code: "unexpected_answer", status: 418 });
    const headers = { "content-type": "application/json" };
    await world.faults.set({ path: ME, kind: "answer", status: 200, headers, body: "<html>" });
    expect(await failure(account.get())).to.include({ code: "unexpected_answer" });
  },

  "silence ends by the time limit": async (world) => {
    const { client } = await somebody(world);
    await world.faults.set({ path: ME, kind: "silence", times: 9 });
    const began = Date.now();
    const error = await failure(getMe({ client, meta: { timeoutMs: 100, maxRetries: 1 } }));
    expect(error.code).to.equal("timed_out");
    expect(Date.now() - began).to.be.within(200, 20_000);
    expect(await world.faults.log(ME)).to.have.lengthOf(2);
    // One try's time limit is not the call's: the next try may answer.
    await world.faults.set({ path: ME, kind: "silence" });
    await getMe({ client, meta: { timeoutMs: 2000 } });
  },

  "a signal ends a call with its own reason": async (world) => {
    const { account } = await somebody(world);
    const controller = new AbortController();
    await world.faults.set({ path: ME, kind: "silence", times: 9 });
    const call = account.get({ signal: controller.signal }).catch((reason: unknown) => reason);
    const reason = new Error("enough");
    while ((await world.faults.log(ME)).length === 0);
    controller.abort(reason);
    expect(await call).to.equal(reason);
    expect(await world.faults.log(ME)).to.have.lengthOf(1);
  },

  "a signal ends a pause between tries": async (world) => {
    const { account } = await somebody(world);
    const controller = new AbortController();
    const headers = { "retry-after": "30" };
    await world.faults.set({ path: ME, kind: "answer", status: 429, headers });
    const call = account.get({ signal: controller.signal }).catch((reason: unknown) => reason);
    while ((await world.faults.log(ME)).length === 0);
    controller.abort();
    expect(await call).to.have.property("name", "AbortError");
  },

  "a server that is not there": async () => {
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
