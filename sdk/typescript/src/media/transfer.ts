import { put } from "#platform";
import type { SignedUpload } from "../generated/types.gen.js";
import type { PutResponse } from "../platform/types.js";
import { QuartetError } from "../errors.js";
import { backoff, type RetryOptions } from "../transport/retry.js";
import { wait } from "../wait.js";

/** A part of a file and its signed request. Currently there is one part per file. */
export interface Piece {
  body: Blob;
  request: SignedUpload;
  /** When the signed URL expires by the local clock, in ms since 1970. */
  expiresAt: number;
}

/** The signed URL has expired: a new one is needed. */
export class UrlExpired extends Error {}

export interface TransferOptions {
  retry: RetryOptions;
  /** Aborts an attempt that sends nothing for this time, in ms. */
  stallMs: number;
  /** Aborts an attempt without a response for this time after the last byte, in ms. */
  answerMs: number;
  signal?: AbortSignal | undefined;
  onProgress: (sentBytes: number) => void;
}

/** Sends a piece to the object store, with retries after transient failures. */
export async function transfer(piece: Piece, options: TransferOptions): Promise<void> {
  const { retry, signal } = options;
  for (let retries = 0; ; retries += 1) {
    if (Date.now() >= piece.expiresAt) throw new UrlExpired();
    const outcome = await attempt(piece, options);
    if (outcome === "arrived") return;
    if (retries >= retry.maxRetries) throw outcome;
    await wait(backoff(retries, retry), signal);
  }
}

/** Returns transient errors; throws permanent ones. */
async function attempt(piece: Piece, options: TransferOptions): Promise<"arrived" | QuartetError> {
  const stall = new AbortController();
  let timer = setTimeout(() => stall.abort(), options.stallMs);
  const onProgress = (sentBytes: number) => {
    clearTimeout(timer);
    const patience = sentBytes < piece.body.size ? options.stallMs : options.answerMs;
    timer = setTimeout(() => stall.abort(), patience);
    options.onProgress(sentBytes);
  };
  const signals = [stall.signal, ...(options.signal ? [options.signal] : [])];
  try {
    onProgress(0);
    return outcomeOf(await send(piece, AbortSignal.any(signals), onProgress), piece);
  } catch (error) {
    options.signal?.throwIfAborted();
    if (error instanceof UrlExpired || error instanceof QuartetError) throw error;
    if (stall.signal.aborted) {
      return new QuartetError("timed_out", { detail: "no progress of the upload" });
    }
    if (!(await isReadable(piece.body))) throw new QuartetError("file_changed", { cause: error });
    return new QuartetError("connection_failed", { cause: error, detail: "the connection broke" });
  } finally {
    clearTimeout(timer);
  }
}

/** A file on disk becomes unreadable when it is changed. */
function isReadable(body: Blob): Promise<boolean> {
  return body
    .slice(0, 1)
    .arrayBuffer()
    .then(
      () => true,
      () => false,
    );
}

function send(
  { body, request }: Piece,
  signal: AbortSignal,
  onProgress: (sentBytes: number) => void,
): Promise<PutResponse> {
  // Browsers and Node.js set the length themselves.
  const headers = Object.fromEntries(
    Object.entries(request.headers).filter(([name]) => !/^(content-length|host)$/i.test(name)),
  );
  return put({ url: request.url, method: request.method, headers, body, signal, onProgress });
}

function outcomeOf({ status, text }: PutResponse, piece: Piece): "arrived" | QuartetError {
  // 412: the object exists. An earlier attempt arrived, and only its response was lost.
  if ((status >= 200 && status < 300) || status === 412) return "arrived";
  if (status === 403 && (Date.now() >= piece.expiresAt || /expired/i.test(text))) {
    throw new UrlExpired();
  }
  const detail =
    /<Message>([^<]*)<\/Message>/.exec(text)?.[1] ?? `the object store returned status ${status}`;
  const refusal = new QuartetError("upload_refused", { status, detail });
  if ([408, 409, 429].includes(status) || status >= 500) return refusal;
  throw refusal;
}
