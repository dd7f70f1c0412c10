import { KEYED_OPERATIONS } from "../generated/facts.gen.js";

/** Options of one call, as `meta`: `getMe({ client, meta: { timeoutMs: 1000 } })`. */
export interface CallOptions {
  /** Timeout of one attempt, including the response body, in ms. */
  timeoutMs?: number;
  /** The maximum number of retries. */
  maxRetries?: number;
  /** Whether the request is safe to retry. Known already for most calls. */
  repeatable?: boolean;
  /** No attempt starts later than this after the first, in ms. */
  retryWithinMs?: number;
}

/** What the transport needs to know about a request. */
export interface Call extends CallOptions {
  /** Whether the operation requires an access token. */
  secured: boolean;
  /** Whether it accepts an `Idempotency-Key`. */
  keyed: boolean;
  /** Whether the response body is passed on as a stream. */
  streamed: boolean;
}

const REPEATABLE_METHODS = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"];

export function isKeyed(method: string, path: string): boolean {
  return KEYED_OPERATIONS.includes(`${method} ${path}`);
}

/** Whether the request may be sent again after it may have taken effect. */
export function isRepeatable(request: Request, call: Call): boolean {
  return (
    call.repeatable ??
    (REPEATABLE_METHODS.includes(request.method) || request.headers.has("idempotency-key"))
  );
}

/** 128 random bits. (`crypto.randomUUID` is missing on pages without https.) */
export function randomKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
