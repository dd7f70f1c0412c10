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
  somebody,
  stranger,
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

/** A browser asks whether what it has is still good: 304 is an answer like 200. */
const isAnswer = (status: number | undefined) => status === 200 || status === 304;

export const sessions: Scenarios = {
  "ten calls with a refused token refresh once": async (world) => {
    const tokens = memoryStore();
    const quartet = await somebody(world, { tokens });
    await tokens.save(forged((await tokens.load())!));
    await world.faults.set();
    const answers = await Promise.all(Array.from({ length: 10 }, () => quartet.account.get()));
    expect(new Set(answers.map(({ id }) => id)).size).to.equal(1);
    expect(await world.faults.log(REFRESH)).to.have.lengthOf(1);
    const statuses = (await world.faults.log(ME)).map(({ status }) => status);
    expect(statuses).to.include(401);
    expect(statuses.filter(isAnswer)).to.have.lengthOf(10);
  },

  "a token is replaced before it ends": async (world) => {
    const tokens = memoryStore();
    const quartet = await somebody(world, { tokens });
    const before = (await tokens.load())!;
    await tokens.save({ ...before, expiresAt: Date.now() + 10 });
    await world.faults.set();
    await Promise.all([quartet.account.get(), quartet.account.get(), quartet.account.get()]);
    expect(await world.faults.log(REFRESH)).to.have.lengthOf(1);
    const statuses = (await world.faults.log(ME)).map(({ status }) => status);
    expect(statuses.filter(isAnswer)).to.have.lengthOf(3);
    expect(statuses).to.have.lengthOf(3);
    expect((await tokens.load())!.refreshToken).not.to.equal(before.refreshToken);
  },

  "a refresh whose answer is lost does not log out": async (world) => {
    const tokens = memoryStore();
    const quartet = await somebody(world, { tokens });
    await tokens.save(forged((await tokens.load())!));
    await world.faults.set(
      { path: REFRESH, kind: "cut-after" },
      { path: REFRESH, kind: "cut-during" },
    );
    await quartet.account.get();
    const statuses = (await world.faults.log(REFRESH)).map(({ status }) => status);
    expect(statuses).to.deep.equal([200, 200, 200]);
    await tokens.save(forged((await tokens.load())!));
    await quartet.account.get();
  },

  "a refresh that cannot be made now leaves a good token in use": async (world) => {
    const tokens = memoryStore();
    const quartet = await somebody(world, { tokens });
    const { lifetimeMs, ...rest } = (await tokens.load())!;
    await tokens.save({
      ...rest,
      lifetimeMs,
      expiresAt: Date.now() + Math.min(20_000, lifetimeMs / 6),
    });
    await world.faults.set({ path: REFRESH, kind: "answer", status: 503, times: 9 });
    await quartet.account.get();
    const statuses = (await world.faults.log(REFRESH)).map(({ status }) => status);
    expect(statuses).to.deep.equal([503, 503, 503, 503]);
  },

  "a session that was ended elsewhere says so once": async (world) => {
    const ended: QuartetError[] = [];
    const tokens = memoryStore();
    const { quartet, email } = await stranger(world, {
      tokens,
      onSessionEnd: (error) => ended.push(error),
    });
    await quartet.login({ email, password: PASSWORD });
    const here = (await tokens.load())!;
    const elsewhere = new Quartet({ url: world.url });
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

  "a log-out during a refresh stays one": async (world) => {
    const tokens = memoryStore();
    const quartet = await somebody(world, { tokens });
    await tokens.save(forged((await tokens.load())!));
    await world.faults.set({ path: REFRESH, kind: "delay", ms: 500 });
    const call = quartet.account.get().catch((error: unknown) => error);
    while ((await world.faults.log(REFRESH)).length === 0);
    await quartet.client.session.forget();
    await call;
    expect(await tokens.load()).to.equal(undefined);
  },

  "two tabs share one session": async (world) => {
    const storage = fakeStorage();
    const first = await somebody(world, { tokens: webStore(storage) });
    const second = new Quartet({ url: world.url, retry: QUICK, tokens: webStore(storage) });
    const both = [first, second];
    for (let round = 0; round < 3; round += 1) {
      await webStore(storage).save(forged((await first.client.session.tokens())!));
      const answers = await Promise.all(both.map((tab) => tab.account.get()));
      expect(answers[0]).to.deep.equal(answers[1]);
    }
    await first.logout();
    expect(await second.client.session.tokens()).to.equal(undefined);
  },

  "a real token ends and nobody notices": async (world) => {
    const quartet = await somebody(world);
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

  "a real token that has ended is refused, replaced and sent again": async (world) => {
    const tokens = memoryStore();
    const quartet = await somebody(world, { tokens });
    const { lifetimeMs, accessToken, ...rest } = (await tokens.load())!;
    if (lifetimeMs > PATIENCE_MS) return LONG_TOKENS;
    const headers = { authorization: `Bearer ${accessToken}` };
    await eventually("the token is refused", async () => {
      const { status } = await fetch(world.url + ME, { headers });
      return status === 401 ? true : undefined;
    });
    // As on a machine whose clock was put back.
    await tokens.save({ ...rest, accessToken, lifetimeMs, expiresAt: Date.now() + 600_000 });
    await world.faults.set();
    await quartet.account.get();
    const statuses = (await world.faults.log(ME)).map(({ status }) => status);
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
