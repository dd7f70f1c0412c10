import { QuartetError, type ProblemCode } from "../errors.js";
import { retryAfterSeconds } from "./responses.js";
import { wait } from "../wait.js";

/** How failed requests are retried. */
export interface RetryOptions {
  /** The maximum number of retries. Default 3; 0 disables retries. */
  maxRetries: number;
  /** Longest pause before the first retry, doubled with each further one. Default 300. */
  baseDelayMs: number;
  /** Longest pause between two attempts, unless the response has `Retry-After`. Default 5000. */
  maxDelayMs: number;
  /** A response with a longer `Retry-After` is thrown. Default 30. */
  maxRetryAfterSeconds: number;
  /** How often in a row a subscription reconnects before it fails. Default 10. */
  maxReconnects: number;
}

export const DEFAULT_RETRY: RetryOptions = {
  maxRetries: 3,
  baseDelayMs: 300,
  maxDelayMs: 5000,
  maxRetryAfterSeconds: 30,
  maxReconnects: 10,
};

/** Whether and how long to retry a request. */
export interface RetryContext extends RetryOptions {
  /** Whether the request is safe to retry. */
  repeatable: boolean;
  /** No attempt starts later than this after the first. */
  withinMs: number;
  signal: AbortSignal | null;
  /** Whether it deletes: then 404 after an attempt that may have taken effect is a success. */
  deletes: boolean;
}

/** A failed attempt; `sent` if the request may have reached the server. */
export class NoResponse extends QuartetError {
  readonly sent: boolean;

  constructor(
    code: "connection_failed" | "timed_out",
    sent: boolean,
    cause: unknown,
    detail: string,
  ) {
    super(code, { detail, cause });
    this.sent = sent;
  }
}

/** The code of a 503 by the gateway itself: no replica could be reached. */
const NOT_REACHED: ProblemCode = "upstream_unreachable";

/** Retries until there is a response to return, or a retry is not possible. */
export async function withRetries(
  send: () => Promise<Response>,
  context: RetryContext,
): Promise<Response> {
  const began = Date.now();
  let mayHaveEffect = false;
  for (let retries = 0; ; retries += 1) {
    const outcome = await send().catch((error: unknown) => error);
    const again = retries < context.maxRetries;
    const pause = again ? await pauseAfter(outcome, retries, context) : undefined;
    if (pause === undefined || Date.now() + pause - began > context.withinMs) {
      if (!(outcome instanceof Response)) throw outcome;
      const isGone = context.deletes && mayHaveEffect && outcome.status === 404;
      return isGone ? new Response(null, { status: 204 }) : outcome;
    }
    mayHaveEffect ||= outcome instanceof NoResponse && outcome.sent;
    await wait(pause, context.signal);
  }
}

/** The pause before the next attempt, in ms; undefined for no further attempt. */
async function pauseAfter(
  outcome: unknown,
  retries: number,
  context: RetryContext,
): Promise<number | undefined> {
  if (outcome instanceof NoResponse) {
    return !outcome.sent || context.repeatable ? backoff(retries, context) : undefined;
  }
  if (!(outcome instanceof Response)) return undefined;
  if (!isTransient(outcome, context.repeatable) && !(await hadNoEffect(outcome))) return undefined;
  const asked = retryAfterSeconds(outcome.headers);
  if (asked === undefined) return backoff(retries, context);
  return asked <= context.maxRetryAfterSeconds ? asked * 1000 + jitter(200) : undefined;
}

/** Whether a retry may succeed. 429 means that the request had no effect. */
function isTransient({ status, headers }: Response, repeatable: boolean): boolean {
  if (status === 429) return true;
  if (!repeatable) return false;
  // 409 with Retry-After: the first request with this idempotency key is in flight.
  return [408, 502, 503, 504].includes(status) || (status === 409 && headers.has("retry-after"));
}

/** Whether the gateway could not forward the request to any replica. */
async function hadNoEffect(response: Response): Promise<boolean> {
  if (response.status !== 503) return false;
  const body = (await response
    .clone()
    .json()
    .catch(() => undefined)) as { code?: unknown } | undefined;
  return body?.code === NOT_REACHED;
}

/** A random pause between half and all of one that doubles, so that clients spread out. */
export function backoff(retries: number, { baseDelayMs, maxDelayMs }: RetryOptions): number {
  const longest = Math.min(maxDelayMs, baseDelayMs * 2 ** retries);
  return longest / 2 + jitter(longest / 2);
}

function jitter(ms: number): number {
  return Math.random() * ms;
}
