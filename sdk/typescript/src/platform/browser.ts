/** The platform outside Node.js. */

import type { PutResponse, PutRequest } from "./types.js";

export const WebSocketImpl: unknown = globalThis.WebSocket;

/** Browsers do not reveal why a request failed. */
export function neverSent(_error: unknown): boolean {
  return false;
}

/** By `XMLHttpRequest`, which reports progress, or by `fetch` where that does not exist, as in workers. */
export function put(request: PutRequest): Promise<PutResponse> {
  return typeof XMLHttpRequest === "undefined" ? putByFetch(request) : putByXhr(request);
}

function putByXhr({
  url,
  method,
  headers,
  body,
  signal,
  onProgress,
}: PutRequest): Promise<PutResponse> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const abort = () => request.abort();
    signal.addEventListener("abort", abort, { once: true });
    request.open(method, url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded }) => onProgress(loaded);
    request.onload = () => resolve({ status: request.status, text: request.responseText });
    request.onerror = () => reject(new TypeError("the object store could not be reached"));
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
}: PutRequest): Promise<PutResponse> {
  const response = await fetch(url, { method, headers, body, signal });
  onProgress(body.size);
  return { status: response.status, text: await response.text() };
}
