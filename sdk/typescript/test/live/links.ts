import { Quartet, type Click, type Link } from "@quartet/client";
import { expect } from "chai";
import {
  eventually,
  failure,
  LONG_TOKENS,
  PATIENCE_MS,
  QUICK,
  somebody,
  stranger,
  type Scenarios,
  type World,
} from "../harness/scenario.js";

const GRAPHQL = "/v1/links/graphql";
const TARGET = "https://example.org/page?a=1";

/** Follows the link, through the proxy. */
async function follow({ url }: World, { slug }: Link): Promise<void> {
  await fetch(`${url}/s/${slug}`, { redirect: "manual" });
}

/** Follows the link again and again until the subscription tells of a click. */
async function clickUntilTold(
  world: World,
  link: Link,
  clicks: AsyncIterator<Click>,
): Promise<Click> {
  let told: IteratorResult<Click> | undefined;
  const next = clicks.next().then((result) => {
    told = result;
  });
  await eventually("a click is told", async () => {
    await follow(world, link);
    await Promise.race([next, new Promise((done) => setTimeout(done, 200))]);
    return told;
  });
  if (!told || told.done) throw new Error("the subscription has ended");
  return told.value;
}

export const links: Scenarios = {
  "a link from its making to its end": async (world) => {
    const { links } = await somebody(world);
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

  "lists come page by page, filtered and ordered": async (world) => {
    const { links } = await somebody(world);
    for (const title of ["a", "b", "c", "d", "e"]) await links.create({ url: TARGET, title });
    const titles: (string | null)[] = [];
    const orderBy = [{ field: "TITLE", direction: "ASC" } as const];
    await world.faults.set();
    for await (const link of links.list({ orderBy, pageSize: 2 })) titles.push(link.title);
    expect(titles).to.deep.equal(["a", "b", "c", "d", "e"]);
    expect(await world.faults.log(GRAPHQL)).to.have.lengthOf(3);
    const some = await links.list({ where: { title: { _in: ["b", "d"] } }, orderBy }).toArray();
    expect(some.map(({ title }) => title)).to.deep.equal(["b", "d"]);
  },

  "what GraphQL refuses is a typed error as well": async (world) => {
    const { links } = await somebody(world);
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
    const anonymous = new Quartet({ url: world.url });
    const refused = await failure(anonymous.links.create({ url: TARGET }));
    expect(refused).to.include({ code: "unauthenticated", status: 401 });
  },

  "a query is repeated after a cut, a mutation is not": async (world) => {
    const { links } = await somebody(world);
    await world.faults.set({ path: GRAPHQL, kind: "cut-after", times: 2 });
    expect(await links.list().toArray()).to.deep.equal([]);
    expect(await world.faults.log(GRAPHQL)).to.have.lengthOf(3);
    await world.faults.set({ path: GRAPHQL, kind: "cut-after" });
    const error = await failure(links.create({ url: TARGET }));
    expect(error.code).to.equal("connection_failed");
    expect(await world.faults.log(GRAPHQL)).to.have.lengthOf(1);
    expect(await links.list().toArray()).to.have.lengthOf(1);
  },

  "clicks are told as they happen, over one socket": async (world) => {
    const { links } = await somebody(world);
    const [one, other] = [await links.create({ url: TARGET }), await links.create({ url: TARGET })];
    const first = links.clicks(one.id);
    const second = links.clicks(other.id);
    const click = await clickUntilTold(world, one, first);
    expect(click.totals.total).to.be.above(0);
    expect(click.device).to.be.a("string");
    await clickUntilTold(world, other, second);
    expect(await world.faults.sockets()).to.equal(1);
    await first.return();
    await second.return();
    await eventually("the socket is closed", async () =>
      (await world.faults.sockets()) === 0 ? true : undefined,
    );
  },

  "a subscription outlives its connection": async (world) => {
    const { links } = await somebody(world);
    const link = await links.create({ url: TARGET });
    const clicks = links.clicks(link.id);
    const before = await clickUntilTold(world, link, clicks);
    await world.faults.cutSockets();
    const after = await clickUntilTold(world, link, clicks);
    expect(after.totals.total).to.be.above(before.totals.total);
    await clicks.return();
  },

  "a subscription outlives its token": async (world) => {
    const { links, client } = await somebody(world);
    const { lifetimeMs } = (await client.session.tokens())!;
    if (lifetimeMs > PATIENCE_MS) return LONG_TOKENS;
    const link = await links.create({ url: TARGET });
    const clicks = links.clicks(link.id);
    await clickUntilTold(world, link, clicks);
    // Through several tokens, with nothing told meanwhile.
    await new Promise((done) => setTimeout(done, 3.5 * lifetimeMs));
    await clickUntilTold(world, link, clicks);
    await clicks.return();
  },

  "a refused token is replaced when a subscription begins": async (world) => {
    const { links, client } = await somebody(world);
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
    await clickUntilTold(world, link, clicks);
    await clicks.return();
  },

  "without a session a subscription fails": async (world) => {
    const { quartet } = await stranger(world);
    const error = await failure(quartet.links.clicks("lnk_00000000000000000000000000").next());
    expect(error).to.include({ code: "unauthenticated", status: 401 });
  },

  "a subscription to somebody else's link fails": async (world) => {
    const { links } = await somebody(world);
    const other = await somebody(world);
    const link = await links.create({ url: TARGET });
    const error = await failure(other.links.clicks(link.id).next());
    expect(error.code).to.equal("not_found");
  },

  "the loop ends with the link, and with a signal": async (world) => {
    const { links } = await somebody(world);
    const link = await links.create({ url: TARGET });
    const clicks = links.clicks(link.id);
    await clickUntilTold(world, link, clicks);
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

  "a gateway that is gone ends a subscription after some tries": async () => {
    const quartet = new Quartet({
      url: "http://localhost:1",
      retry: { ...QUICK, maxReconnects: 2 },
    });
    const clicks = quartet.links.clicks("lnk_00000000000000000000000000");
    const error = await failure(clicks.next());
    expect(error.code).to.equal("subscription_closed");
  },
};
