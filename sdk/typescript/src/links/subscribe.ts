import { createClient as createSocket, type Client as Socket } from "graphql-ws/client";
import { WebSocketImpl } from "#platform";
import type { QuartetClient } from "../client.js";
import { QuartetError } from "../errors.js";
import { errorOfGraphQl, type GraphQlErrorBody } from "../transport/answers.js";
import { backoff } from "../transport/retry.js";
import type { GraphQlDocument } from "./document.js";
import { Queue } from "./queue.js";

const PATH = "/v1/links/graphql";
/** A socket on which a ping is not answered for so long is dead, in ms. */
const PING_EVERY_MS = 20_000;
const PONG_WITHIN_MS = 5000;
/** The token was refused, or has ended. */
const TOKEN_CLOSES = [4401, 4403];

const MAX_REFUSALS = 2;

/** Subscriptions of one client, all on one socket that is open while there are any. */
export class Subscriptions {
  readonly #client: QuartetClient;
  #socket: Socket | undefined;
  #token: string | undefined;
  /** Tokens refused in a row. One that ends after it was taken is none of them. */
  #refusals = 0;

  constructor(client: QuartetClient) {
    this.#client = client;
  }

  /**
   * What the subscription tells from now on. A lost socket and a token that ends are mended
   * silently; what happened in between is not told.
   */
  async *iterate<Answer, Variables>(
    document: GraphQlDocument<Answer, Variables>,
    variables: Variables,
    signal?: AbortSignal,
  ): AsyncGenerator<Answer, void, undefined> {
    signal?.throwIfAborted();
    const queue = new Queue<Answer>();
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

  /** Keeps subscribing until the service ends it, it fails for good, or it is ended here. */
  #subscribe<Answer, Variables>(
    document: GraphQlDocument<Answer, Variables>,
    variables: Variables,
    queue: Queue<Answer>,
  ): () => void {
    const payload = { query: document, variables: variables as Record<string, unknown> };
    let ended = false;
    let end = () => {};
    const begin = () => {
      end = this.#open().subscribe<Answer>(payload, {
        next: ({ data, errors }) => {
          if (errors?.length) queue.fail(errorOfGraphQl(errors as GraphQlErrorBody[]));
          else if (data) queue.push(data);
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

  /** After a close for the token's sake: the next socket gets another one. */
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
      retryWait: (retries) => new Promise((done) => setTimeout(done, backoff(retries, retry))),
      shouldRetry: (error) => !isTokenClose(error) && !isRefusal(error),
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
          this.#refusals = 0;
        },
        closed: (event) => {
          clearTimeout(dead);
          if (isTokenClose(event)) this.#refusals += 1;
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

/** Whether the session has ended, so that there is no token to connect with. */
function isRefusal(error: unknown): boolean {
  return error instanceof QuartetError && error.status !== undefined;
}

/** The error for what ended a subscription: GraphQL errors, a close, a socket that would not open. */
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
