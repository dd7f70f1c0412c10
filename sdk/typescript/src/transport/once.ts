import { neverSent } from "#platform";
import { NoAnswer } from "./retry.js";

/** One try: what goes out and how long it may take. */
export interface Try {
  request: Request;
  body: string | undefined;
  token: string | undefined;
  timeoutMs: number;
  streamed: boolean;
  fetch: typeof fetch;
}

/** Sends once. The answer is there as a whole, so that a cut in its middle is noticed here. */
export async function sendOnce(one: Try): Promise<Response> {
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(), one.timeoutMs);
  const { signal } = one.request;
  try {
    const request = new Request(one.request, {
      headers: headersOf(one),
      signal: AbortSignal.any([signal, timeout.signal]),
      ...(one.body === undefined ? {} : { body: one.body }),
    });
    const response = await one.fetch(request);
    return one.streamed ? response : await whole(response);
  } catch (error) {
    signal.throwIfAborted();
    if (timeout.signal.aborted) {
      throw new NoAnswer("timed_out", true, error, `no answer within ${one.timeoutMs} ms`);
    }
    throw new NoAnswer("connection_failed", !neverSent(error), error, reason(error));
  } finally {
    clearTimeout(timer);
  }
}

function headersOf({ request, token }: Try): Headers {
  const headers = new Headers(request.headers);
  if (token) headers.set("authorization", `Bearer ${token}`);
  return headers;
}

async function whole(response: Response): Promise<Response> {
  const { status, statusText, headers } = response;
  // What fetch does not show, and what may not have a body.
  if (status < 200 || [204, 205, 304].includes(status)) return response;
  const body = await response.arrayBuffer();
  return new Response(body, { status, statusText, headers });
}

function reason(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? cause.message : String(cause);
}
