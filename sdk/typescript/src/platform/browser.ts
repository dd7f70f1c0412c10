/** What differs outside of Node.js. */

import type { PutAnswer, PutRequest } from "./types.js";

export const WebSocketImpl: unknown = globalThis.WebSocket;

/** A browser does not tell why a request failed. */
export function neverSent(_error: unknown): boolean {
  return false;
}

/** By `XMLHttpRequest`, which tells its progress; `fetch` where there is none, as in a worker of a server. */
export function put(request: PutRequest): Promise<PutAnswer> {
  return typeof XMLHttpRequest === "undefined" ? putByFetch(request) : putByXhr(request);
}

function putByXhr({
  url,
  method,
  headers,
  body,
  signal,
  onProgress,
}: PutRequest): Promise<PutAnswer> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const abort = () => request.abort();
    signal.addEventListener("abort", abort, { once: true });
    request.open(method, url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded }) => onProgress(loaded);
    request.onload = () => resolve({ status: request.status, text: request.responseText });
    request.onerror = () => reject(new TypeError("the store could not be reached"));
    request.onabort = () => reject(signal.reason);
    request.onloadend = () => signal.removeEventListener("abort", abort);
    request.send(body);
  });
}

async function putByFetch({
  url,
  method,
  headers,
  body,
  signal,
  onProgress,
}: PutRequest): Promise<PutAnswer> {
  const response = await fetch(url, { method, headers, body, signal });
  onProgress(body.size);
  return { status: response.status, text: await response.text() };
}
