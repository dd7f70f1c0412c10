import type { ProblemCode } from "./generated/facts.gen.js";
import type { FieldError } from "./generated/types.gen.js";

export type { FieldError, ProblemCode };

/** Codes of what goes wrong on the way. */
export type ClientCode =
  /** No answer came: the connection could not be made, or was cut. */
  | "connection_failed"
  /** No whole answer came in time. (A service that ran out of time says so too, with a status.) */
  | "timed_out"
  /** An answer came that no Quartet gives; perhaps from a proxy on the way. */
  | "unexpected_answer"
  /** 304, to a request with `If-None-Match`. */
  | "not_modified"
  /** The store took no file; `status` and `detail` are the store's. */
  | "upload_refused"
  /** The file was changed or taken away while it was sent. */
  | "file_changed"
  /** A subscription ended, and trying again did not help. */
  | "subscription_closed";

/** Later services may know more codes than this package. */
export type ErrorCode = ProblemCode | ClientCode | (string & {});

/** What is known of a failure besides its code. */
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
 * Everything that this package throws, but for an `AbortSignal`'s own reason.
 *
 * `code` is stable and made for `switch`; the message is for people.
 */
export class QuartetError<Code extends ErrorCode = ErrorCode> extends Error {
  override readonly name = "QuartetError";
  readonly code: Code;
  /** HTTP status; absent when no answer came. */
  readonly status: number | undefined;
  /** Names the request in the services' logs. */
  readonly requestId: string | undefined;
  readonly title: string | undefined;
  readonly detail: string | undefined;
  /** Every field that breaks a rule, by its JSON pointer or the parameter's name. */
  readonly errors: readonly FieldError[];
  /** After this time the same request may work. */
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

  /** The first rule that the field breaks: `"/email"` in a body, `"limit"` in a query. */
  field(name: string): FieldError | undefined {
    return this.errors.find(({ pointer, parameter }) => pointer === name || parameter === name);
  }
}

/** Whether it is an error of this package, and has one of the codes if any are given. */
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
  const said = [title, detail, ...fields].filter(Boolean).join("; ");
  const names = requestId ? `${code}, request ${requestId}` : code;
  return said ? `${said} (${names})` : names;
}
