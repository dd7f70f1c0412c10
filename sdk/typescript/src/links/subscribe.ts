import { createClient as createSocket, type Client as Socket } from "graphql-ws/client";
import { WebSocketImpl } from "#platform";
import type { QuartetClient } from "../client.js";
import { QuartetError } from "../errors.js";
import { errorOfGraphQl, type GraphQlErrorBody } from "../transport/responses.js";
import { backoff } from "../transport/retry.js";
import type { GraphQlDocument } from "./document.js";
import { Queue } from "./queue.js";

const PATH = "/v1/links/graphql";
const PING_EVERY_MS = 20_000;
/** A socket without a pong within this time is dead. */
const PONG_WITHIN_MS = 5000;
/** Close codes for a token that was refused or has expired. */
const TOKEN_CLOSES = [4401, 4403];

const MAX_REFUSALS = 2;

/**
 * A socket that was open for this long, or brought an event, worked. Any other counts as a failure: a
 * service that accepts sockets and closes them at once would be asked without an end.
 */
const WORKED_AFTER_MS = 1000;

/** The subscriptions of one client, on one socket that is open while there are any. */
export class Subscriptions {
  readonly #client: QuartetClient;
  #socket: Socket | undefined;
  #token: string | undefined;
  /** Tokens refused in a row, not counting those that expire on a socket that worked. */
  #refusals = 0;
  /** Failures in a row. */
  #failures = 0;
  #connectedAt: number | undefined;

  constructor(client: QuartetClient) {
    this.#client = client;
  }

  /**
   * The events of a subscription from now on. Reconnects silently when the socket breaks or the
   * token expires; events in between are missed.
   */
  async *iterate<Data, Variables>(
    document: GraphQlDocument<Data, Variables>,
    variables: Variables,
    signal?: AbortSignal,
  ): AsyncGenerator<Data, void, undefined> {
    signal?.throwIfAborted();
    const queue = new Queue<Data>();
    const abort = () => queue.fail(signal?.reason);
    signal?.addEventListener("abort", abort, { once: true });
    const subscription = this.#subscribe(document, variables, queue);
    try {
      yield* queue;
    } finally {
      signal?.removeEventListener("abort", abort);
      subscription();
    }
  }

  /** Subscribes again until the service completes it, it is refused, or it is ended here. */
  #subscribe<Data, Variables>(
    document: GraphQlDocument<Data, Variables>,
    variables: Variables,
    queue: Queue<Data>,
  ): () => void {
    const payload = { query: document, variables: variables as Record<string, unknown> };
    let ended = false;
    let end = () => {};
    const begin = () => {
      end = this.#open().subscribe<Data>(payload, {
        next: ({ data, errors }) => {
          if (errors?.length) queue.fail(errorOfGraphQl(errors as GraphQlErrorBody[]));
          else if (data) {
            this.#worked();
            queue.push(data);
          }
        },
        error: (error) => {
          if (ended) return;
          if (!isTokenClose(error) || this.#refusals > MAX_REFUSALS)
            return queue.fail(closed(error));
          this.#renew().then(
            () => ended || begin(),
            (reason) => queue.fail(reason),
          );
        },
        complete: () => queue.end(),
      });
    };
    begin();
    return () => {
      ended = true;
      end();
    };
  }

  #worked(): void {
    this.#refusals = 0;
    this.#failures = 0;
  }

  /** Renews a refused token, for the next socket. */
  async #renew(): Promise<void> {
    const refused = this.#token;
    if (refused) await this.#client.session.accessTokenAfter(refused);
  }

  #open(): Socket {
    const { retry } = this.#client;
    let dead: ReturnType<typeof setTimeout> | undefined;
    this.#socket ??= createSocket({
      url: socketUrl(this.#client.url),
      webSocketImpl: WebSocketImpl,
      keepAlive: PING_EVERY_MS,
      retryAttempts: retry.maxReconnects,
      // The library counts from the last acknowledgement.
      retryWait: () =>
        new Promise((done) => setTimeout(done, backoff(Math.max(this.#failures - 1, 0), retry))),
      shouldRetry: (error) =>
        !isTokenClose(error) && !isRefusal(error) && this.#failures <= retry.maxReconnects,
      connectionParams: async () => {
        this.#token = await this.#client.session.accessToken();
        return this.#token ? { authorization: `Bearer ${this.#token}` } : {};
      },
      on: {
        ping: (received) => {
          if (!received) dead = setTimeout(() => this.#socket?.terminate(), PONG_WITHIN_MS);
        },
        pong: () => clearTimeout(dead),
        connected: () => {
          this.#connectedAt = Date.now();
        },
        closed: (event) => {
          clearTimeout(dead);
          if (Date.now() - (this.#connectedAt ?? Infinity) >= WORKED_AFTER_MS) this.#worked();
          this.#connectedAt = undefined;
          if (isTokenClose(event)) this.#refusals += 1;
          else if (!isRegular(event)) this.#failures += 1;
        },
      },
    });
    return this.#socket;
  }
}

function socketUrl(base: string): string {
  const url = new URL(base + PATH, globalThis.location?.href);
  url.protocol = url.protocol.replace("http", "ws");
  return url.href;
}

function isTokenClose(error: unknown): boolean {
  return TOKEN_CLOSES.includes((error as { code?: number } | null)?.code ?? 0);
}

/** Whether the socket was closed because no subscription is left. */
function isRegular(error: unknown): boolean {
  return (error as { code?: number } | null)?.code === 1000;
}

/** Whether the session has ended, so that there is no token for a connection. */
function isRefusal(error: unknown): boolean {
  return error instanceof QuartetError && error.status !== undefined;
}

/** The error for the end of a subscription: GraphQL errors, a close code, a failed connection. */
function closed(error: unknown): unknown {
  if (error instanceof QuartetError) return error;
  if (Array.isArray(error)) return errorOfGraphQl(error as GraphQlErrorBody[]);
  const { code, reason } = error as { code?: number; reason?: string };
  if (code === 4401 || code === 4403) {
    return new QuartetError("unauthenticated", { status: 401, detail: reason, cause: error });
  }
  const detail =
    code === undefined ? "no connection" : `closed with ${code} ${reason ?? ""}`.trim();
  return new QuartetError("subscription_closed", { detail, cause: error });
}
