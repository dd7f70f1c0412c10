import { KEYED_OPERATIONS } from "../generated/facts.gen.js";

/** What can be set for one call, as `meta`: `getMe({ client, meta: { timeoutMs: 1000 } })`. */
export interface CallOptions {
  /** How long one try may take, the answer's body included, in ms. */
  timeoutMs?: number;
  /** How often the request is sent again at most. */
  maxRetries?: number;
  /** Says that doing it twice is the same as doing it once. Known already for most calls. */
  repeatable?: boolean;
  /** No try begins later than this after the first, in ms. */
  retryWithinMs?: number;
}

/** What sending needs to know of a request, beyond what it holds itself. */
export interface Call extends CallOptions {
  /** Whether the operation takes an access token. */
  secured: boolean;
  /** Whether it takes an `Idempotency-Key`. */
  keyed: boolean;
  /** The answer's body is handed on as it comes. */
  streamed: boolean;
}

const REPEATABLE_METHODS = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"];

export function isKeyed(method: string, path: string): boolean {
  return KEYED_OPERATIONS.includes(`${method} ${path}`);
}

/** Whether the request may be sent again after it may have been done. */
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
