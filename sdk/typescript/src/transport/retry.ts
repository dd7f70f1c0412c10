import { QuartetError, type ProblemCode } from "../errors.js";
import { retryAfterSeconds } from "./answers.js";
import { wait } from "./waiting.js";

/** How failed requests are sent again. */
export interface RetryOptions {
  /** How often a request is sent again at most. Default 3; 0 switches it off. */
  maxRetries: number;
  /** Longest pause before the first retry; it doubles with each one. Default 300. */
  baseDelayMs: number;
  /** Longest pause between two tries, where the answer names none. Default 5000. */
  maxDelayMs: number;
  /** An answer that asks for a longer pause is thrown. Default 30. */
  maxRetryAfterSeconds: number;
  /** How often in a row a lost subscription connects again before it fails. Default 10. */
  maxReconnects: number;
}

export const DEFAULT_RETRY: RetryOptions = {
  maxRetries: 3,
  baseDelayMs: 300,
  maxDelayMs: 5000,
  maxRetryAfterSeconds: 30,
  maxReconnects: 10,
};

/** Which requests may be sent again. */
export interface Repeating extends RetryOptions {
  /** Whether sending it twice does the same as sending it once. */
  repeatable: boolean;
  /** No try begins later than this after the first. */
  withinMs: number;
  signal: AbortSignal | null;
  /** Whether it deletes: then 404 after a try that may have done so is a success. */
  deletes: boolean;
}

/** Told by a failed try: whether the request can have reached the server. */
export class NoAnswer extends QuartetError {
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

/** 503 from the gateway itself: no replica could be reached, and nothing was done. */
const NOT_REACHED: ProblemCode = "upstream_unreachable";

/** Tries until there is an answer worth giving, or no further try makes sense. */
export async function withRetries(
  send: () => Promise<Response>,
  repeating: Repeating,
): Promise<Response> {
  const began = Date.now();
  let mayBeDone = false;
  for (let retries = 0; ; retries += 1) {
    const outcome = await send().catch((error: unknown) => error);
    const again = retries < repeating.maxRetries;
    const pause = again ? await pauseAfter(outcome, retries, repeating) : undefined;
    if (pause === undefined || Date.now() + pause - began > repeating.withinMs) {
      if (!(outcome instanceof Response)) throw outcome;
      const isGone = repeating.deletes && mayBeDone && outcome.status === 404;
      return isGone ? new Response(null, { status: 204 }) : outcome;
    }
    mayBeDone ||= outcome instanceof NoAnswer && outcome.sent;
    await wait(pause, repeating.signal);
  }
}

/** The pause before the next try, in ms; nothing when there should be none. */
async function pauseAfter(
  outcome: unknown,
  retries: number,
  repeating: Repeating,
): Promise<number | undefined> {
  if (outcome instanceof NoAnswer) {
    return !outcome.sent || repeating.repeatable ? backoff(retries, repeating) : undefined;
  }
  if (!(outcome instanceof Response)) return undefined;
  if (!isPassing(outcome, repeating.repeatable) && !(await didNothing(outcome))) return undefined;
  const asked = retryAfterSeconds(outcome.headers);
  if (asked === undefined) return backoff(retries, repeating);
  return asked <= repeating.maxRetryAfterSeconds ? asked * 1000 + jitter(200) : undefined;
}

/** Whether the answer may be another one soon. 429 says that nothing was done. */
function isPassing({ status, headers }: Response, repeatable: boolean): boolean {
  if (status === 429) return true;
  if (!repeatable) return false;
  // 409 with Retry-After: the first request with this idempotency key is still running.
  return [408, 502, 503, 504].includes(status) || (status === 409 && headers.has("retry-after"));
}

/** Whether the gateway says that the request reached no service. */
async function didNothing(response: Response): Promise<boolean> {
  if (response.status !== 503) return false;
  const body = (await response
    .clone()
    .json()
    .catch(() => undefined)) as { code?: unknown } | undefined;
  return body?.code === NOT_REACHED;
}

/** Between a half and the whole of a pause that doubles, so that clients spread. */
export function backoff(retries: number, { baseDelayMs, maxDelayMs }: RetryOptions): number {
  const longest = Math.min(maxDelayMs, baseDelayMs * 2 ** retries);
  return longest / 2 + jitter(longest / 2);
}

function jitter(ms: number): number {
  return Math.random() * ms;
}
