import { QuartetError, type FieldError } from "../errors.js";

/** The error that an answer tells: one with a status of 300 or more, or one that is not JSON. */
export function errorOf(response: Response, body: unknown): QuartetError {
  const fallback = factsOf(response);
  if (response.status === 304) return new QuartetError("not_modified", fallback);
  const said = readBody(body);
  if (isProblem(said)) {
    return new QuartetError(said.code, {
      ...fallback,
      requestId: said.request_id ?? fallback.requestId,
      title: said.title,
      detail: said.detail,
      errors: said.errors,
    });
  }
  if (isGraphQlAnswer(said)) return errorOfGraphQl(said.errors, fallback);
  return new QuartetError("unexpected_answer", {
    ...fallback,
    detail: `status ${response.status} without a problem document or JSON`,
    cause: body instanceof Error ? body : undefined,
  });
}

/** The first of the errors in a GraphQL answer. Codes are written as in problem documents. */
export function errorOfGraphQl(
  errors: readonly GraphQlErrorBody[],
  facts: { status?: number | undefined; requestId?: string | undefined } = {},
): QuartetError {
  const [first] = errors;
  const told = first?.extensions;
  return new QuartetError(told?.code?.toLowerCase() ?? "unexpected_answer", {
    ...facts,
    requestId: told?.requestId ?? facts.requestId,
    detail: first?.message,
    errors: told?.errors?.map(({ pointer, field, code, detail }) =>
      pointer ? { pointer, code, detail } : { parameter: field, code, detail },
    ),
    retryAfterSeconds: told?.retryAfterSeconds,
  });
}

/** `Retry-After`, in seconds or as a date. */
export function retryAfterSeconds(headers: Headers): number | undefined {
  const value = headers.get("retry-after")?.trim();
  if (!value) return undefined;
  if (/^\d+$/.test(value)) return Number(value);
  const at = Date.parse(value);
  return Number.isNaN(at) ? undefined : Math.max(0, Math.ceil((at - Date.now()) / 1000));
}

export interface GraphQlErrorBody {
  message?: string;
  extensions?: {
    code?: string;
    requestId?: string;
    retryAfterSeconds?: number;
    errors?: { field: string; pointer?: string | null; code: string; detail: string }[];
  };
}

interface ProblemBody {
  code: string;
  title?: string;
  detail?: string;
  request_id?: string;
  errors?: FieldError[];
}

function factsOf(response: Response) {
  return {
    status: response.status,
    requestId: response.headers.get("x-request-id") ?? undefined,
    retryAfterSeconds: retryAfterSeconds(response.headers),
  };
}

function readBody(body: unknown): unknown {
  if (typeof body !== "string") return body;
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

function isProblem(body: unknown): body is ProblemBody {
  return isObject(body) && typeof body["code"] === "string";
}

function isGraphQlAnswer(body: unknown): body is { errors: GraphQlErrorBody[] } {
  return isObject(body) && Array.isArray(body["errors"]) && body["errors"].length > 0;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
