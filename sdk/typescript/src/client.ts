import { refreshSession } from "./generated/sdk.gen.js";
import {
  createClient as createGenerated,
  type Client,
  type ResolvedRequestOptions,
} from "./generated/client/index.js";
import { QuartetError } from "./errors.js";
import { Session } from "./session/session.js";
import { memoryStore, type TokenStore } from "./session/tokens.js";
import { errorOf } from "./transport/responses.js";
import { isKeyed, type Call, type CallOptions } from "./transport/calls.js";
import { DEFAULT_RETRY, type RetryOptions } from "./transport/retry.js";
import { sender } from "./transport/send.js";

export interface QuartetOptions {
  /** URL of the gateway, such as `https://api.example.com`. */
  url: string;
  /** Where tokens are stored. Default: in memory. */
  tokens?: TokenStore;
  /** Timeout of one attempt, including the response body, in ms. Default 35000: longer than that of the gateway. */
  timeoutMs?: number;
  /** How failed requests are retried. */
  retry?: Partial<RetryOptions>;
  /** Additional headers for every request. */
  headers?: Record<string, string>;
  /** Replaces the global `fetch`. */
  fetch?: typeof fetch;
  /** Called when the session has ended and the user has to log in again. */
  onSessionEnd?: (error: QuartetError) => void;
}

/** The `client` of the generated functions. */
export interface QuartetClient extends Client {
  readonly url: string;
  readonly retry: RetryOptions;
  readonly session: Session;
}

/** `meta` is passed through, but missing from the generated types. */
type Options = ResolvedRequestOptions & { meta?: CallOptions };

/** A used refresh token returns the same successor for 10 s; after that, reuse ends the session. */
const REFRESH: CallOptions = { repeatable: true, timeoutMs: 3000, retryWithinMs: 6000 };

/** A client that renews its session, retries, and throws `QuartetError`. */
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
    response && isFromResponse(error) ? errorOf(response, error) : error,
  );
  return Object.assign(client, { url, retry, session });
}

/** Whether the error is a response body: a string, a parsed body, or a body that is invalid JSON. */
function isFromResponse(error: unknown): boolean {
  return !(error instanceof Error) || error instanceof SyntaxError;
}
