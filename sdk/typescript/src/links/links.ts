import * as gql from "../generated/links.gen.js";
import type { QuartetClient } from "../client.js";
import { Listing } from "../listing.js";
import type { During } from "../options.js";
import type { GraphQlDocument } from "./document.js";
import { execute } from "./execute.js";
import { Subscriptions } from "./subscribe.js";

export type Link = gql.LinkFieldsFragment;
export type LinkWithClicks = Link & { clicks: gql.TotalsFieldsFragment };
export type Click = gql.ClicksSubscription["clicks"];
export type ClickPoint = NonNullable<gql.ClickSeriesQuery["link"]>["clicks"]["series"][number];

export interface LinkQuery extends During {
  where?: gql.LinkFilter;
  /** At most three terms. Default: newest first. */
  orderBy?: gql.LinkOrder[];
  /** Links per request, 1 to 100. */
  pageSize?: number;
}

export interface SeriesQuery extends During {
  by: gql.Interval;
  /** RFC 3339. Default: 24 hours or 30 days before `to`. */
  from?: string;
  /** RFC 3339. Default: now. */
  to?: string;
}

/** Short links and who follows them. */
export class Links {
  readonly #client: QuartetClient;
  readonly #subscriptions: Subscriptions;

  constructor(client: QuartetClient) {
    this.#client = client;
    this.#subscriptions = new Subscriptions(client);
  }

  async create(input: gql.CreateLinkInput, during?: During): Promise<Link> {
    return (await this.request(gql.CreateLinkDocument, { input }, during)).createLink;
  }

  /** A link of the caller's; null when there is none with this id. */
  async get(id: string, during?: During): Promise<LinkWithClicks | null> {
    return (await this.request(gql.LinkDocument, { id }, during)).link;
  }

  async bySlug(slug: string, during?: During): Promise<LinkWithClicks | null> {
    return (await this.request(gql.LinkBySlugDocument, { slug }, during)).linkBySlug;
  }

  /** The caller's links. */
  list({ where, orderBy, pageSize = 50, ...during }: LinkQuery = {}): Listing<LinkWithClicks> {
    return new Listing(async (after) => {
      const variables = { where, orderBy, first: pageSize, after };
      const { links } = await this.request(gql.LinksDocument, variables, during);
      const { hasNextPage, endCursor } = links.pageInfo;
      return { data: links.nodes, next_cursor: hasNextPage ? endCursor : null };
    });
  }

  /** Changes what is given; null clears a value that need not be set. */
  async update(id: string, input: gql.UpdateLinkInput, during?: During): Promise<Link> {
    return (await this.request(gql.UpdateLinkDocument, { id, input }, during)).updateLink;
  }

  async delete(id: string, during?: During): Promise<void> {
    await this.request(gql.DeleteLinkDocument, { id }, during);
  }

  /** Clicks by hour or day, oldest first; null when there is no such link. */
  async series(id: string, { by, from, to, ...during }: SeriesQuery): Promise<ClickPoint[] | null> {
    const variables = { id, by, from, to };
    const { link } = await this.request(gql.ClickSeriesDocument, variables, during);
    return link?.clicks.series ?? null;
  }

  /**
   * Every click from now on, until the loop is left, the link is deleted or the signal is aborted.
   * A lost connection is made again; clicks of that time are in the next click's `totals`,
   * as are the oldest of more than 1000 that nobody has read.
   */
  async *clicks(
    linkId: string,
    { signal }: { signal?: AbortSignal } = {},
  ): AsyncGenerator<Click, void, undefined> {
    const answers = this.#subscriptions.iterate(gql.ClicksDocument, { linkId }, signal);
    for await (const { clicks } of answers) yield clicks;
  }

  /** Any query or mutation: a text, or a text with types. */
  request<Answer = unknown, Variables = Record<string, unknown>>(
    document: GraphQlDocument<Answer, Variables>,
    variables: Variables,
    during?: During,
  ): Promise<Answer> {
    return execute(this.#client, document, variables, during);
  }
}
