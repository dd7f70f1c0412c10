import { QuartetError, type FieldError } from "../errors.js";

/** The error for a response with a status of 300 or more, or with a body that is not JSON. */
export function errorOf(response: Response, body: unknown): QuartetError {
  const fallback = detailsOf(response);
  if (response.status === 304) return new QuartetError("not_modified", fallback);
  const parsed = readBody(body);
  if (isProblem(parsed)) {
    return new QuartetError(parsed.code, {
      ...fallback,
      requestId: parsed.request_id ?? fallback.requestId,
      title: parsed.title,
      detail: parsed.detail,
      errors: parsed.errors,
    });
  }
  if (isGraphQlResponse(parsed)) return errorOfGraphQl(parsed.errors, fallback);
  return new QuartetError("unexpected_response", {
    ...fallback,
    detail: `status ${response.status} without a problem document or JSON`,
    cause: body instanceof Error ? body : undefined,
  });
}

/** The first error of a GraphQL response, with its code spelled as in problem documents. */
export function errorOfGraphQl(
  errors: readonly GraphQlErrorBody[],
  facts: { status?: number | undefined; requestId?: string | undefined } = {},
): QuartetError {
  const [first] = errors;
  const extensions = first?.extensions;
  return new QuartetError(extensions?.code?.toLowerCase() ?? "unexpected_response", {
    ...facts,
    requestId: extensions?.requestId ?? facts.requestId,
    detail: first?.message,
    errors: extensions?.errors?.map(({ pointer, field, code, detail }) =>
      pointer ? { pointer, code, detail } : { parameter: field, code, detail },
    ),
    retryAfterSeconds: extensions?.retryAfterSeconds,
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

function detailsOf(response: Response) {
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

function isGraphQlResponse(body: unknown): body is { errors: GraphQlErrorBody[] } {
  return isObject(body) && Array.isArray(body["errors"]) && body["errors"].length > 0;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
