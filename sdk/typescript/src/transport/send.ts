import type { Session } from "../session/session.js";
import { isRepeatable, randomKey, type Call } from "./calls.js";
import { sendOnce } from "./attempt.js";
import { withRetries, type RetryOptions } from "./retry.js";

export interface SenderOptions {
  session: Session;
  fetch: typeof fetch;
  timeoutMs: number;
  retry: RetryOptions;
}

/** Creates the function that sends every request of a client. */
export function sender({ session, fetch, timeoutMs, retry }: SenderOptions) {
  return async (request: Request, call: Call): Promise<Response> => {
    if (call.keyed && !request.headers.has("idempotency-key")) {
      // The same one for every attempt.
      request.headers.set("idempotency-key", randomKey());
    }
    const body = await bodyOf(request);
    const attempt = { request, body, fetch, streamed: call.streamed };
    const context = {
      ...retry,
      maxRetries: call.maxRetries ?? retry.maxRetries,
      repeatable: isRepeatable(request, call),
      withinMs: call.retryWithinMs ?? Infinity,
      signal: request.signal,
      deletes: request.method === "DELETE",
    };
    const send = (token?: string) =>
      withRetries(
        () => sendOnce({ ...attempt, token, timeoutMs: call.timeoutMs ?? timeoutMs }),
        context,
      );
    // A token that the caller has set is not managed.
    const managed = call.secured && !request.headers.has("authorization");
    return managed ? authorized(session, request.signal, send) : send();
  };
}

/** With the token of the session; again with a renewed one if that was refused. */
async function authorized(
  session: Session,
  signal: AbortSignal,
  send: (token?: string) => Promise<Response>,
): Promise<Response> {
  const token = await session.accessToken(signal);
  const response = await send(token);
  if (response.status !== 401 || !token) return response;
  const fresh = await session.accessTokenAfter(token, signal);
  return fresh ? send(fresh) : response;
}

async function bodyOf(request: Request): Promise<string | undefined> {
  if (["GET", "HEAD"].includes(request.method)) return undefined;
  return (await request.text()) || undefined;
}
