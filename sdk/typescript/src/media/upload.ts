import { completeUpload, deleteAsset, presignUpload } from "../generated/sdk.gen.js";
import type { Asset, Presigned, PresignRequest, Visibility } from "../generated/types.gen.js";
import type { QuartetClient } from "../client.js";
import { QuartetError } from "../errors.js";
import { randomKey } from "../transport/calls.js";
import type { RetryOptions } from "../transport/retry.js";
import { AddressEnded, transfer, type Piece } from "./transfer.js";

/** What can be uploaded. In Node.js, `await openAsBlob(path)` reads a file piece by piece. */
export type UploadSource = Blob | ArrayBuffer | ArrayBufferView<ArrayBuffer> | string;

export interface UploadOptions {
  /** Who may read the file. Default: only its owner. */
  visibility?: Visibility;
  /** Default: the name of a `File`, else `file`. */
  fileName?: string;
  /** Media type. Default: that of a `Blob`. */
  contentType?: string;
  /** SHA-256 of the file, 64 hexadecimal digits; the store then checks it. */
  checksumSha256?: string;
  /** Told while the file is sent. `sentBytes` falls when a cut makes it begin anew. */
  onProgress?: (progress: UploadProgress) => void;
  /** A try that sends nothing for so long is given up, in ms. Default 30000. */
  stallMs?: number;
  /** How long the store may take to answer after the last byte, in ms. Default 120000: it may be hashing. */
  answerMs?: number;
  /** Default: as the client's. */
  retry?: Partial<RetryOptions>;
  signal?: AbortSignal;
}

export interface UploadProgress {
  sentBytes: number;
  totalBytes: number;
}

/** A fresh address for one that ended on the way, so often. */
const MAX_ADDRESSES = 3;

/** Presigns, sends the file to the store, has it verified, and gives the ready asset. */
export async function upload(
  client: QuartetClient,
  source: UploadSource,
  options: UploadOptions = {},
): Promise<Asset> {
  const body = source instanceof Blob ? source : new Blob([source]);
  const wanted = promise(body, options);
  for (let addresses = 1; ; addresses += 1) {
    const presigned = await presign(client, wanted, options);
    const { id } = presigned.body.asset;
    try {
      await sendAll(client, pieces(body, presigned), body.size, options);
    } catch (error) {
      // What is pending is swept in any case; this is only sooner.
      if (!(error instanceof AddressEnded && addresses < MAX_ADDRESSES)) throw asError(error);
      void deleteAsset({ client, path: { id } }).catch(() => undefined);
      continue;
    }
    // Completing a ready asset again gives the same answer.
    return completeUpload({ client, path: { id }, meta: { repeatable: true }, ...during(options) });
  }
}

function promise(body: Blob, options: UploadOptions): PresignRequest {
  const fileName = options.fileName ?? (body instanceof File ? body.name : "file");
  return {
    file_name: fileName,
    // A browser adds parameters to some types (`text/plain;charset=utf-8`); the service takes none.
    content_type: (options.contentType ?? body.type).split(";")[0]!.trim(),
    size_bytes: body.size,
    visibility: options.visibility ?? "private",
    ...(options.checksumSha256 ? { checksum_sha256: options.checksumSha256 } : {}),
  };
}

async function presign(client: QuartetClient, body: PresignRequest, options: UploadOptions) {
  const askedAt = Date.now();
  const headers = { "Idempotency-Key": randomKey() };
  return { askedAt, body: await presignUpload({ client, body, headers, ...during(options) }) };
}

/** How a file is divided. One signed request carries all of it until there are more. */
function pieces(body: Blob, presigned: { askedAt: number; body: Presigned }): Piece[] {
  const { asset, upload: request } = presigned.body;
  // By the service's clock on both sides: ours may be wrong.
  const lifetimeMs = Date.parse(request.expires_at) - Date.parse(asset.created_at);
  return [{ body, request, endsAt: presigned.askedAt + lifetimeMs }];
}

async function sendAll(
  client: QuartetClient,
  all: Piece[],
  totalBytes: number,
  options: UploadOptions,
): Promise<void> {
  let arrived = 0;
  for (const piece of all) {
    await transfer(piece, {
      retry: { ...client.retry, ...options.retry },
      stallMs: options.stallMs ?? 30_000,
      answerMs: options.answerMs ?? 120_000,
      signal: options.signal,
      onProgress: (sent) => options.onProgress?.({ sentBytes: arrived + sent, totalBytes }),
    });
    arrived += piece.body.size;
  }
  options.onProgress?.({ sentBytes: totalBytes, totalBytes });
}

function during({ signal }: UploadOptions): { signal?: AbortSignal } {
  return signal ? { signal } : {};
}

function asError(error: unknown): unknown {
  if (!(error instanceof AddressEnded)) return error;
  return new QuartetError("timed_out", {
    detail: "the signed addresses ended before the file was sent",
  });
}
