import { neverSent } from "#platform";
import { NoResponse } from "./retry.js";

/** One attempt of a request. */
export interface Attempt {
  request: Request;
  body: string | undefined;
  token: string | undefined;
  timeoutMs: number;
  streamed: boolean;
  fetch: typeof fetch;
}

/** Sends the request once and reads the whole response, so that a broken connection is noticed here. */
export async function sendOnce(attempt: Attempt): Promise<Response> {
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(), attempt.timeoutMs);
  const { signal } = attempt.request;
  try {
    const request = new Request(attempt.request, {
      headers: headersOf(attempt),
      signal: AbortSignal.any([signal, timeout.signal]),
      ...(attempt.body === undefined ? {} : { body: attempt.body }),
    });
    const response = await attempt.fetch(request);
    return attempt.streamed ? response : await whole(response);
  } catch (error) {
    signal.throwIfAborted();
    if (timeout.signal.aborted) {
      throw new NoResponse("timed_out", true, error, `no response within ${attempt.timeoutMs} ms`);
    }
    throw new NoResponse("connection_failed", !neverSent(error), error, reason(error));
  } finally {
    clearTimeout(timer);
  }
}

function headersOf({ request, token }: Attempt): Headers {
  const headers = new Headers(request.headers);
  if (token) headers.set("authorization", `Bearer ${token}`);
  return headers;
}

async function whole(response: Response): Promise<Response> {
  const { status, statusText, headers } = response;
  // These must not have a body.
  if (status < 200 || [204, 205, 304].includes(status)) return response;
  const body = await response.arrayBuffer();
  return new Response(body, { status, statusText, headers });
}

function reason(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? cause.message : String(cause);
}
