import {
  memoryStore,
  Quartet,
  webStore,
  type QuartetError,
  type SessionTokens,
} from "@quartet/client";
import { expect } from "chai";
import {
  eventually,
  failure,
  LONG_TOKENS,
  PASSWORD,
  PATIENCE_MS,
  QUICK,
  loggedInUser,
  signedUpUser,
  type Scenarios,
} from "../harness/scenario.js";

const REFRESH = "/v1/core/sessions/refresh";
const ME = "/v1/core/users/me";

/** A token that the services refuse. */
const forged = (tokens: SessionTokens) => ({
  ...tokens,
  accessToken: tokens.accessToken.replace(/[^.]+$/, (signature) =>
    signature.split("").reverse().join(""),
  ),
  expiresAt: Date.now() + 600_000,
});

/** A browser revalidates its cache: 304 is a success like 200. */
const isAnswer = (status: number | undefined) => status === 200 || status === 304;

export const sessions: Scenarios = {
  "ten calls with a refused token refresh once": async (stack) => {
    const tokens = memoryStore();
    const quartet = await loggedInUser(stack, { tokens });
    await tokens.save(forged((await tokens.load())!));
    await stack.faults.set();
    const answers = await Promise.all(Array.from({ length: 10 }, () => quartet.account.get()));
    expect(new Set(answers.map(({ id }) => id)).size).to.equal(1);
    expect(await stack.faults.log(REFRESH)).to.have.lengthOf(1);
    const statuses = (await stack.faults.log(ME)).map(({ status }) => status);
    expect(statuses).to.include(401);
    expect(statuses.filter(isAnswer)).to.have.lengthOf(10);
  },

  "a token is renewed before it expires": async (stack) => {
    const tokens = memoryStore();
    const quartet = await loggedInUser(stack, { tokens });
    const before = (await tokens.load())!;
    await tokens.save({ ...before, expiresAt: Date.now() + 10 });
    await stack.faults.set();
    await Promise.all([quartet.account.get(), quartet.account.get(), quartet.account.get()]);
    expect(await stack.faults.log(REFRESH)).to.have.lengthOf(1);
    const statuses = (await stack.faults.log(ME)).map(({ status }) => status);
    expect(statuses.filter(isAnswer)).to.have.lengthOf(3);
    expect(statuses).to.have.lengthOf(3);
    expect((await tokens.load())!.refreshToken).not.to.equal(before.refreshToken);
  },

  "a refresh whose response is lost does not end the session": async (stack) => {
    const tokens = memoryStore();
    const quartet = await loggedInUser(stack, { tokens });
    await tokens.save(forged((await tokens.load())!));
    await stack.faults.set(
      { path: REFRESH, kind: "cut-after" },
      { path: REFRESH, kind: "cut-during" },
    );
    await quartet.account.get();
    const statuses = (await stack.faults.log(REFRESH)).map(({ status }) => status);
    expect(statuses).to.deep.equal([200, 200, 200]);
    await tokens.save(forged((await tokens.load())!));
    await quartet.account.get();
  },

  "a failed refresh leaves a valid token in use": async (stack) => {
    const tokens = memoryStore();
    const quartet = await loggedInUser(stack, { tokens });
    const { lifetimeMs, ...rest } = (await tokens.load())!;
    await tokens.save({
      ...rest,
      lifetimeMs,
      expiresAt: Date.now() + Math.min(20_000, lifetimeMs / 6),
    });
    await stack.faults.set({ path: REFRESH, kind: "answer", status: 503, times: 9 });
    await quartet.account.get();
    const statuses = (await stack.faults.log(REFRESH)).map(({ status }) => status);
    expect(statuses).to.deep.equal([503, 503, 503, 503]);
  },

  "a session that was ended elsewhere is reported once": async (stack) => {
    const ended: QuartetError[] = [];
    const tokens = memoryStore();
    const { quartet, email } = await signedUpUser(stack, {
      tokens,
      onSessionEnd: (error) => ended.push(error),
    });
    await quartet.login({ email, password: PASSWORD });
    const here = (await tokens.load())!;
    const elsewhere = new Quartet({ url: stack.url });
    await elsewhere.login({ email, password: PASSWORD });
    await elsewhere.account.endSession(here.sessionId);
    const errors = await Promise.all([
      failure(quartet.account.get()),
      failure(quartet.account.get()),
    ]);
    expect(errors.map(({ status }) => status)).to.deep.equal([401, 401]);
    expect(errors[0]!.code).to.equal("invalid_refresh_token");
    expect(ended).to.have.lengthOf(1);
    expect(await tokens.load()).to.equal(undefined);
    expect((await failure(quartet.account.get())).code).to.equal("unauthenticated");
  },

  "a logout during a refresh takes precedence": async (stack) => {
    const tokens = memoryStore();
    const quartet = await loggedInUser(stack, { tokens });
    await tokens.save(forged((await tokens.load())!));
    await stack.faults.set({ path: REFRESH, kind: "delay", ms: 500 });
    const call = quartet.account.get().catch((error: unknown) => error);
    while ((await stack.faults.log(REFRESH)).length === 0);
    await quartet.client.session.forget();
    await call;
    expect(await tokens.load()).to.equal(undefined);
  },

  "two tabs share one session": async (stack) => {
    const storage = fakeStorage();
    const first = await loggedInUser(stack, { tokens: webStore(storage) });
    const second = new Quartet({ url: stack.url, retry: QUICK, tokens: webStore(storage) });
    const both = [first, second];
    for (let round = 0; round < 3; round += 1) {
      await webStore(storage).save(forged((await first.client.session.tokens())!));
      const answers = await Promise.all(both.map((tab) => tab.account.get()));
      expect(answers[0]).to.deep.equal(answers[1]);
    }
    await first.logout();
    expect(await second.client.session.tokens()).to.equal(undefined);
  },

  "an expiring token is renewed unnoticed": async (stack) => {
    const quartet = await loggedInUser(stack);
    const { lifetimeMs, accessToken } = (await quartet.client.session.tokens())!;
    if (lifetimeMs > PATIENCE_MS) return LONG_TOKENS;
    const until = Date.now() + 2 * lifetimeMs;
    while (Date.now() < until) {
      await quartet.account.get();
      await quartet.media.assets({ pageSize: 1 }).toArray();
      await new Promise((done) => setTimeout(done, 200));
    }
    expect((await quartet.client.session.tokens())!.accessToken).not.to.equal(accessToken);
  },

  "an expired token is refused, renewed and the request retried": async (stack) => {
    const tokens = memoryStore();
    const quartet = await loggedInUser(stack, { tokens });
    const { lifetimeMs, accessToken, ...rest } = (await tokens.load())!;
    if (lifetimeMs > PATIENCE_MS) return LONG_TOKENS;
    const headers = { authorization: `Bearer ${accessToken}` };
    await eventually("the token is refused", async () => {
      const { status } = await fetch(stack.url + ME, { headers });
      return status === 401 ? true : undefined;
    });
    // As on a machine whose clock was set back.
    await tokens.save({ ...rest, accessToken, lifetimeMs, expiresAt: Date.now() + 600_000 });
    await stack.faults.set();
    await quartet.account.get();
    const statuses = (await stack.faults.log(ME)).map(({ status }) => status);
    expect(statuses[0]).to.equal(401);
    expect(statuses.slice(1).map(isAnswer)).to.deep.equal([true]);
  },
};

function fakeStorage(): Storage {
  const kept = new Map<string, string>();
  return {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value),
    removeItem: (key: string) => void kept.delete(key),
  } as Storage;
}
