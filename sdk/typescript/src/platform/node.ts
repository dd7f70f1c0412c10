/** The platform in Node.js. Selected by the condition `node` of `imports` in package.json. */

import { request as http } from "node:http";
import { request as https } from "node:https";
import { pipeline } from "node:stream/promises";
import { WebSocket as Ws } from "ws";
import type { PutRequest, PutResponse } from "./types.js";

/** Node.js 20 has no `WebSocket`. */
export const WebSocketImpl: unknown = globalThis.WebSocket ?? Ws;

const BEFORE_SENDING = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
]);

/** Small enough for frequent progress reports. */
const CHUNK_BYTES = 65_536;

/** Whether the connection could not be opened. */
export function neverSent(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined;
  const causes = cause instanceof AggregateError ? cause.errors : [cause];
  return causes.every((one: { code?: string } | undefined) => BEFORE_SENDING.has(one?.code ?? ""));
}

/** Sends a file as a stream. (`fetch` reports no progress and sends no length.) */
export async function put({
  url,
  method,
  headers,
  body,
  signal,
  onProgress,
}: PutRequest): Promise<PutResponse> {
  const begin = url.startsWith("https:") ? https : http;
  const request = begin(url, {
    method,
    signal,
    headers: { ...headers, "content-length": body.size },
  });
  return new Promise<PutResponse>((resolve, reject) => {
    request.on("error", reject);
    request.on("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }),
      );
    });
    // A store that refuses early responds and closes: its response says more than the broken pipe.
    pipeline(chunksOf(body, onProgress, reject), request).catch(() => undefined);
  });
}

async function* chunksOf(
  body: Blob,
  onProgress: (sentBytes: number) => void,
  onUnreadable: (error: unknown) => void,
): AsyncGenerator<Uint8Array> {
  const reader = body.stream().getReader();
  const read = () =>
    reader.read().catch((error: unknown) => {
      onUnreadable(error);
      throw error;
    });
  let sent = 0;
  try {
    for (let next = await read(); !next.done; next = await read()) {
      for (let at = 0; at < next.value.byteLength; at += CHUNK_BYTES) {
        const chunk = next.value.subarray(at, at + CHUNK_BYTES);
        yield chunk;
        sent += chunk.byteLength;
        onProgress(sent);
      }
    }
  } finally {
    void reader.cancel().catch(() => undefined);
  }
}
