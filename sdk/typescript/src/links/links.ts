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

/** Short links and their clicks. */
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

  /** A link of the caller; null if there is none with this id. */
  async get(id: string, during?: During): Promise<LinkWithClicks | null> {
    return (await this.request(gql.LinkDocument, { id }, during)).link;
  }

  async bySlug(slug: string, during?: During): Promise<LinkWithClicks | null> {
    return (await this.request(gql.LinkBySlugDocument, { slug }, during)).linkBySlug;
  }

  /** The links of the caller. */
  list({ where, orderBy, pageSize = 50, ...during }: LinkQuery = {}): Listing<LinkWithClicks> {
    return new Listing(async (after) => {
      const variables = { where, orderBy, first: pageSize, after };
      const { links } = await this.request(gql.LinksDocument, variables, during);
      const { hasNextPage, endCursor } = links.pageInfo;
      return { data: links.nodes, next_cursor: hasNextPage ? endCursor : null };
    });
  }

  /** Changes the given members; null clears an optional one. */
  async update(id: string, input: gql.UpdateLinkInput, during?: During): Promise<Link> {
    return (await this.request(gql.UpdateLinkDocument, { id, input }, during)).updateLink;
  }

  async delete(id: string, during?: During): Promise<void> {
    await this.request(gql.DeleteLinkDocument, { id }, during);
  }

  /** Clicks by hour or day, oldest first; null if the link does not exist. */
  async series(id: string, { by, from, to, ...during }: SeriesQuery): Promise<ClickPoint[] | null> {
    const variables = { id, by, from, to };
    const { link } = await this.request(gql.ClickSeriesDocument, variables, during);
    return link?.clicks.series ?? null;
  }

  /**
   * Every click from now on, until the loop ends, the link is deleted or the signal is aborted.
   * Reconnects when the connection breaks. Clicks in between are included in the `totals` of the
   * next click, as are the oldest ones if more than 1000 have not been read.
   */
  async *clicks(
    linkId: string,
    { signal }: { signal?: AbortSignal } = {},
  ): AsyncGenerator<Click, void, undefined> {
    const events = this.#subscriptions.iterate(gql.ClicksDocument, { linkId }, signal);
    for await (const { clicks } of events) yield clicks;
  }

  /** Executes any query or mutation: a string, or a typed document. */
  request<Data = unknown, Variables = Record<string, unknown>>(
    document: GraphQlDocument<Data, Variables>,
    variables: Variables,
    during?: During,
  ): Promise<Data> {
    return execute(this.#client, document, variables, during);
  }
}
