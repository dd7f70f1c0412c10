import { put } from "#platform";
import type { SignedUpload } from "../generated/types.gen.js";
import type { PutAnswer } from "../platform/types.js";
import { QuartetError } from "../errors.js";
import { backoff, type RetryOptions } from "../transport/retry.js";
import { wait } from "../transport/waiting.js";

/** A part of a file and the request that carries it. There is one for each file so far. */
export interface Piece {
  body: Blob;
  request: SignedUpload;
  /** When the signed address ends by this machine's clock, in ms since 1970. */
  endsAt: number;
}

/** The signed address has ended: a new one is needed. */
export class AddressEnded extends Error {}

export interface TransferOptions {
  retry: RetryOptions;
  /** A try that sends nothing for so long is given up, in ms. */
  stallMs: number;
  /** So is one that gets no answer for so long after the last byte. */
  answerMs: number;
  signal?: AbortSignal | undefined;
  onProgress: (sentBytes: number) => void;
}

/** Brings a piece to the store, trying again after cuts and passing refusals. */
export async function transfer(piece: Piece, options: TransferOptions): Promise<void> {
  const { retry, signal } = options;
  for (let retries = 0; ; retries += 1) {
    if (Date.now() >= piece.endsAt) throw new AddressEnded();
    const outcome = await tryOnce(piece, options);
    if (outcome === "arrived") return;
    if (retries >= retry.maxRetries) throw outcome;
    await wait(backoff(retries, retry), signal);
  }
}

/** Gives an error that may pass; throws one that stays. */
async function tryOnce(piece: Piece, options: TransferOptions): Promise<"arrived" | QuartetError> {
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
    return judge(await send(piece, AbortSignal.any(signals), onProgress), piece);
  } catch (error) {
    options.signal?.throwIfAborted();
    if (error instanceof AddressEnded || error instanceof QuartetError) throw error;
    if (stall.signal.aborted) {
      return new QuartetError("timed_out", { detail: "the upload stood still" });
    }
    if (!(await isReadable(piece.body))) throw new QuartetError("file_changed", { cause: error });
    return new QuartetError("connection_failed", { cause: error, detail: "the upload was cut" });
  } finally {
    clearTimeout(timer);
  }
}

/** A file on disk can be read only as long as it is the one that was opened. */
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
): Promise<PutAnswer> {
  // Browsers and Node.js set the length themselves.
  const headers = Object.fromEntries(
    Object.entries(request.headers).filter(([name]) => !/^(content-length|host)$/i.test(name)),
  );
  return put({ url: request.url, method: request.method, headers, body, signal, onProgress });
}

function judge({ status, text }: PutAnswer, piece: Piece): "arrived" | QuartetError {
  // 412: it is there already. An earlier try arrived, and only its answer was lost.
  if ((status >= 200 && status < 300) || status === 412) return "arrived";
  if (status === 403 && (Date.now() >= piece.endsAt || /expired/i.test(text))) {
    throw new AddressEnded();
  }
  const said = /<Message>([^<]*)<\/Message>/.exec(text)?.[1] ?? `the store answered ${status}`;
  const refusal = new QuartetError("upload_refused", { status, detail: said });
  if ([408, 409, 429].includes(status) || status >= 500) return refusal;
  throw refusal;
}
