import type { ProblemCode } from "./generated/facts.gen.js";
import type { FieldError } from "./generated/types.gen.js";

export type { FieldError, ProblemCode };

/** Codes of errors that do not come from a service. */
export type ClientCode =
  /** No response: the connection could not be opened, or broke. */
  | "connection_failed"
  /** No complete response in time. (A service that times out uses this code too, with a status.) */
  | "timed_out"
  /** A response that is not from Quartet; perhaps from a proxy. */
  | "unexpected_response"
  /** 304, to a request with `If-None-Match`. */
  | "not_modified"
  /** The object store refused the file; `status` and `detail` come from the store. */
  | "upload_refused"
  /** The file was changed or removed while it was sent. */
  | "file_changed"
  /** A subscription was closed, and reconnecting failed. */
  | "subscription_closed";

/** Newer services may have codes that this package does not know. */
export type ErrorCode = ProblemCode | ClientCode | (string & {});

/** What is known about a failure besides its code. */
export interface ErrorFacts {
  status?: number | undefined;
  requestId?: string | undefined;
  title?: string | undefined;
  detail?: string | undefined;
  errors?: readonly FieldError[] | undefined;
  retryAfterSeconds?: number | undefined;
  cause?: unknown;
}

/**
 * Everything that this package throws, except the reason of an `AbortSignal`.
 *
 * `code` is stable and meant for `switch`; the message is for people.
 */
export class QuartetError<Code extends ErrorCode = ErrorCode> extends Error {
  override readonly name = "QuartetError";
  readonly code: Code;
  /** HTTP status; absent without a response. */
  readonly status: number | undefined;
  /** Identifies the request in the logs of the services. */
  readonly requestId: string | undefined;
  readonly title: string | undefined;
  readonly detail: string | undefined;
  /** Every invalid field, by JSON pointer or parameter name. */
  readonly errors: readonly FieldError[];
  /** Time after which the same request may succeed. */
  readonly retryAfterSeconds: number | undefined;

  constructor(code: Code, facts: ErrorFacts = {}) {
    super(describe(code, facts), facts.cause === undefined ? undefined : { cause: facts.cause });
    this.code = code;
    this.status = facts.status;
    this.requestId = facts.requestId;
    this.title = facts.title;
    this.detail = facts.detail;
    this.errors = facts.errors ?? [];
    this.retryAfterSeconds = facts.retryAfterSeconds;
  }

  /** The first error of a field: `"/email"` in a body, `"limit"` in a query. */
  field(name: string): FieldError | undefined {
    return this.errors.find(({ pointer, parameter }) => pointer === name || parameter === name);
  }
}

/** Whether this is an error of this package, with one of the codes if any are given. */
export function isQuartetError(error: unknown): error is QuartetError;
export function isQuartetError<Code extends ProblemCode | ClientCode>(
  error: unknown,
  ...codes: [Code, ...Code[]]
): error is QuartetError<Code>;
export function isQuartetError(error: unknown, ...codes: string[]): error is QuartetError {
  if (!(error instanceof QuartetError)) return false;
  return codes.length === 0 || codes.includes(error.code);
}

function describe(code: ErrorCode, { title, detail, errors = [], requestId }: ErrorFacts): string {
  const fields = errors.map((error) => `${error.pointer ?? error.parameter} ${error.detail}`);
  const text = [title, detail, ...fields].filter(Boolean).join("; ");
  const names = requestId ? `${code}, request ${requestId}` : code;
  return text ? `${text} (${names})` : names;
}
