import { Quartet, type Click, type Link } from "@quartet/client";
import { expect } from "chai";
import {
  eventually,
  failure,
  LONG_TOKENS,
  PATIENCE_MS,
  QUICK,
  loggedInUser,
  signedUpUser,
  type Scenarios,
  type TestStack,
} from "../harness/scenario.js";

const GRAPHQL = "/v1/links/graphql";
const TARGET = "https://example.org/page?a=1";

/** Follows the link, through the proxy. */
async function follow({ url }: TestStack, { slug }: Link): Promise<void> {
  await fetch(`${url}/s/${slug}`, { redirect: "manual" });
}

/** Follows the link until the subscription reports a click. */
async function clickUntilTold(
  stack: TestStack,
  link: Link,
  clicks: AsyncIterator<Click>,
): Promise<Click> {
  let reported: IteratorResult<Click> | undefined;
  const next = clicks.next().then((result) => {
    reported = result;
  });
  await eventually("a click is reported", async () => {
    await follow(stack, link);
    await Promise.race([next, new Promise((done) => setTimeout(done, 200))]);
    return reported;
  });
  if (!reported || reported.done) throw new Error("the subscription has ended");
  return reported.value;
}

export const links: Scenarios = {
  "a link is created, changed and deleted": async (stack) => {
    const { links } = await loggedInUser(stack);
    const made = await links.create({ url: TARGET, title: "A page" });
    expect(made).to.include({ url: TARGET, title: "A page", status: "ACTIVE", maxClicks: null });
    const found = await links.get(made.id);
    expect(found).to.include({ slug: made.slug });
    expect(found!.clicks).to.include({ total: 0, lastAt: null });
    expect(await links.bySlug(made.slug)).to.deep.equal(found);
    const changed = await links.update(made.id, { enabled: false, title: null });
    expect(changed).to.include({ status: "DISABLED", title: null });
    expect(await links.series(made.id, { by: "HOUR" })).to.have.length.above(20);
    await links.delete(made.id);
    expect(await links.get(made.id)).to.equal(null);
    expect(await links.series(made.id, { by: "DAY" })).to.equal(null);
  },

  "lists are paginated, filtered and ordered": async (stack) => {
    const { links } = await loggedInUser(stack);
    for (const title of ["a", "b", "c", "d", "e"]) await links.create({ url: TARGET, title });
    const titles: (string | null)[] = [];
    const orderBy = [{ field: "TITLE", direction: "ASC" } as const];
    await stack.faults.set();
    for await (const link of links.list({ orderBy, pageSize: 2 })) titles.push(link.title);
    expect(titles).to.deep.equal(["a", "b", "c", "d", "e"]);
    expect(await stack.faults.log(GRAPHQL)).to.have.lengthOf(3);
    const some = await links.list({ where: { title: { _in: ["b", "d"] } }, orderBy }).toArray();
    expect(some.map(({ title }) => title)).to.deep.equal(["b", "d"]);
  },

  "a GraphQL error becomes a typed error": async (stack) => {
    const { links } = await loggedInUser(stack);
    const { slug } = await links.create({ url: TARGET });
    const taken = await failure(links.create({ url: TARGET, slug }));
    expect(taken.code).to.equal("slug_taken");
    expect(taken.requestId).to.match(/^[0-9a-f-]{36}$/);
    const wrong = await failure(links.create({ url: "ftp://example.org", slug: "a" }));
    expect(wrong.errors.map(({ pointer }) => pointer)).to.include.members([
      "/input/url",
      "/input/slug",
    ]);
    const document = await failure(links.request("{ nothing }", {}));
    expect(document).to.include({ code: "graphql_validation_failed", status: 400 });
    const anonymous = new Quartet({ url: stack.url });
    const refused = await failure(anonymous.links.create({ url: TARGET }));
    expect(refused).to.include({ code: "unauthenticated", status: 401 });
  },

  "a query is retried, a mutation is not": async (stack) => {
    const { links } = await loggedInUser(stack);
    await stack.faults.set({ path: GRAPHQL, kind: "cut-after", times: 2 });
    expect(await links.list().toArray()).to.deep.equal([]);
    expect(await stack.faults.log(GRAPHQL)).to.have.lengthOf(3);
    await stack.faults.set({ path: GRAPHQL, kind: "cut-after" });
    const error = await failure(links.create({ url: TARGET }));
    expect(error.code).to.equal("connection_failed");
    expect(await stack.faults.log(GRAPHQL)).to.have.lengthOf(1);
    expect(await links.list().toArray()).to.have.lengthOf(1);
  },

  "clicks are reported live, over one socket": async (stack) => {
    const { links } = await loggedInUser(stack);
    const [one, other] = [await links.create({ url: TARGET }), await links.create({ url: TARGET })];
    const first = links.clicks(one.id);
    const second = links.clicks(other.id);
    const click = await clickUntilTold(stack, one, first);
    expect(click.totals.total).to.be.above(0);
    expect(click.device).to.be.a("string");
    await clickUntilTold(stack, other, second);
    expect(await stack.faults.sockets()).to.equal(1);
    await first.return();
    await second.return();
    await eventually("the socket is closed", async () =>
      (await stack.faults.sockets()) === 0 ? true : undefined,
    );
  },

  "a subscription reconnects": async (stack) => {
    const { links } = await loggedInUser(stack);
    const link = await links.create({ url: TARGET });
    const clicks = links.clicks(link.id);
    const before = await clickUntilTold(stack, link, clicks);
    await stack.faults.cutSockets();
    const after = await clickUntilTold(stack, link, clicks);
    expect(after.totals.total).to.be.above(before.totals.total);
    await clicks.return();
  },

  "a subscription survives the expiry of its token": async (stack) => {
    const { links, client } = await loggedInUser(stack);
    const { lifetimeMs } = (await client.session.tokens())!;
    if (lifetimeMs > PATIENCE_MS) return LONG_TOKENS;
    const link = await links.create({ url: TARGET });
    const clicks = links.clicks(link.id);
    await clickUntilTold(stack, link, clicks);
    // Through several tokens, without events.
    await new Promise((done) => setTimeout(done, 3.5 * lifetimeMs));
    await clickUntilTold(stack, link, clicks);
    await clicks.return();
  },

  "a refused token is renewed when a subscription starts": async (stack) => {
    const { links, client } = await loggedInUser(stack);
    const link = await links.create({ url: TARGET });
    const { accessToken, refreshToken, sessionId } = (await client.session.tokens())!;
    const forged = accessToken.replace(/[^.]+$/, (signature) =>
      signature.split("").reverse().join(""),
    );
    await client.session.begin({
      access_token: forged,
      refresh_token: refreshToken,
      session_id: sessionId,
      expires_in: 600,
      token_type: "Bearer",
    });
    const clicks = links.clicks(link.id);
    await clickUntilTold(stack, link, clicks);
    await clicks.return();
  },

  "a subscription fails without a session": async (stack) => {
    const { quartet } = await signedUpUser(stack);
    const error = await failure(quartet.links.clicks("lnk_00000000000000000000000000").next());
    expect(error).to.include({ code: "unauthenticated", status: 401 });
  },

  "a subscription to a link of another user fails": async (stack) => {
    const { links } = await loggedInUser(stack);
    const other = await loggedInUser(stack);
    const link = await links.create({ url: TARGET });
    const error = await failure(other.links.clicks(link.id).next());
    expect(error.code).to.equal("not_found");
  },

  "the loop ends with the link, and with a signal": async (stack) => {
    const { links } = await loggedInUser(stack);
    const link = await links.create({ url: TARGET });
    const clicks = links.clicks(link.id);
    await clickUntilTold(stack, link, clicks);
    await links.delete(link.id);
    for await (const _ of clicks);
    const controller = new AbortController();
    const { id } = await links.create({ url: TARGET });
    const waiting = links.clicks(id, { signal: controller.signal }).next();
    const outcome = waiting.catch((reason: unknown) => reason);
    const reason = new Error("enough");
    controller.abort(reason);
    expect(await outcome).to.equal(reason);
  },

  "a subscription fails after several attempts to reconnect": async () => {
    const quartet = new Quartet({
      url: "http://localhost:1",
      retry: { ...QUICK, maxReconnects: 2 },
    });
    const clicks = quartet.links.clicks("lnk_00000000000000000000000000");
    const error = await failure(clicks.next());
    expect(error.code).to.equal("subscription_closed");
  },
};
