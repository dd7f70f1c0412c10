import { refreshSession } from "./generated/sdk.gen.js";
import {
  createClient as createGenerated,
  type Client,
  type ResolvedRequestOptions,
} from "./generated/client/index.js";
import { QuartetError } from "./errors.js";
import { Session } from "./session/session.js";
import { memoryStore, type TokenStore } from "./session/tokens.js";
import { errorOf } from "./transport/answers.js";
import { isKeyed, type Call, type CallOptions } from "./transport/calls.js";
import { DEFAULT_RETRY, type RetryOptions } from "./transport/retry.js";
import { sender } from "./transport/send.js";

export interface QuartetOptions {
  /** Where the gateway is, such as `https://api.example.com`. */
  url: string;
  /** Where tokens are kept. Default: in memory. */
  tokens?: TokenStore;
  /** How long one try may take, the answer's body included, in ms. Default 35000: longer than the gateway's. */
  timeoutMs?: number;
  /** How failed requests are sent again. */
  retry?: Partial<RetryOptions>;
  /** Further headers for every request. */
  headers?: Record<string, string>;
  /** Used in place of the global `fetch`. */
  fetch?: typeof fetch;
  /** Told when the session has ended by itself: the user has to log in again. */
  onSessionEnd?: (error: QuartetError) => void;
}

/** What the generated functions take as `client`. */
export interface QuartetClient extends Client {
  readonly url: string;
  readonly retry: RetryOptions;
  readonly session: Session;
}

/** `meta` is passed through, but the generated types forget it. */
type Options = ResolvedRequestOptions & { meta?: CallOptions };

/** A spent refresh token gives its successor again for 10 s; later it ends the session. */
const REFRESH: CallOptions = { repeatable: true, timeoutMs: 3000, retryWithinMs: 6000 };

/** A client that logs in, refreshes, waits, retries, and throws a `QuartetError`. */
export function createClient(options: QuartetOptions): QuartetClient {
  const url = options.url.replace(/\/+$/, "");
  const retry = { ...DEFAULT_RETRY, ...options.retry };
  const calls = new WeakMap<Request, Call>();
  const session: Session = new Session(
    options.tokens ?? memoryStore(),
    (refresh_token) => refreshSession({ client, body: { refresh_token }, meta: { ...REFRESH } }),
    options.onSessionEnd,
  );
  const send = sender({
    session,
    fetch: options.fetch ?? ((request) => globalThis.fetch(request)),
    timeoutMs: options.timeoutMs ?? 35_000,
    retry,
  });
  const client = createGenerated({
    baseUrl: url,
    throwOnError: true,
    ...(options.headers ? { headers: options.headers } : {}),
    fetch: (request) => send(request as Request, calls.get(request as Request)!),
  });
  client.interceptors.request.use((request, options: Options) => {
    const { url: path, security, meta, parseAs } = options;
    const keyed = isKeyed(request.method, path);
    calls.set(request, { ...meta, keyed, secured: !!security, streamed: parseAs === "stream" });
    return request;
  });
  client.interceptors.error.use((error, response) =>
    response && isFromAnswer(error) ? errorOf(response, error) : error,
  );
  return Object.assign(client, { url, retry, session });
}

/** A text or a parsed body of an error, or a body that is no JSON although it should be. */
function isFromAnswer(error: unknown): boolean {
  return !(error instanceof Error) || error instanceof SyntaxError;
}
