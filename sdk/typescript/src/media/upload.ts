import { completeUpload, deleteAsset, presignUpload } from "../generated/sdk.gen.js";
import type { Asset, Presigned, PresignRequest, Visibility } from "../generated/types.gen.js";
import type { QuartetClient } from "../client.js";
import { QuartetError } from "../errors.js";
import { randomKey } from "../transport/calls.js";
import type { RetryOptions } from "../transport/retry.js";
import { UrlExpired, transfer, type Piece } from "./transfer.js";

/** The content of an upload. In Node.js, use `await openAsBlob(path)` for files. */
export type UploadSource = Blob | ArrayBuffer | ArrayBufferView<ArrayBuffer> | string;

export interface UploadOptions {
  /** Who may read the file. Default: only its owner. */
  visibility?: Visibility;
  /** Default: the name of a `File`, else `file`. */
  fileName?: string;
  /** Media type. Default: that of a `Blob`. */
  contentType?: string;
  /** SHA-256 of the file, 64 hexadecimal digits, to be verified by the store. */
  checksumSha256?: string;
  /** Called while the file is sent. `sentBytes` restarts at 0 when the connection breaks. */
  onProgress?: (progress: UploadProgress) => void;
  /** Aborts an attempt that sends nothing for this time, in ms. Default 30000. */
  stallMs?: number;
  /** Timeout for the response after the last byte, in ms. Default 120000: the store may be hashing. */
  answerMs?: number;
  /** Default: that of the client. */
  retry?: Partial<RetryOptions>;
  signal?: AbortSignal;
}

export interface UploadProgress {
  sentBytes: number;
  totalBytes: number;
}

/** The maximum number of signed URLs: one may expire during a slow upload. */
const MAX_SIGNED_URLS = 3;

/** Presigns, sends the file to the object store, completes the upload, and returns the asset. */
export async function upload(
  client: QuartetClient,
  source: UploadSource,
  options: UploadOptions = {},
): Promise<Asset> {
  const body = source instanceof Blob ? source : new Blob([source]);
  const request = presignRequest(body, options);
  for (let signedUrls = 1; ; signedUrls += 1) {
    const presigned = await presign(client, request, options);
    const { id } = presigned.body.asset;
    try {
      await sendAll(client, pieces(body, presigned), body.size, options);
    } catch (error) {
      // The service removes pending assets anyway; this is only sooner.
      if (!(error instanceof UrlExpired && signedUrls < MAX_SIGNED_URLS)) throw asError(error);
      void deleteAsset({ client, path: { id } }).catch(() => undefined);
      continue;
    }
    // Completing a ready asset again returns the same response.
    return completeUpload({ client, path: { id }, meta: { repeatable: true }, ...during(options) });
  }
}

function presignRequest(body: Blob, options: UploadOptions): PresignRequest {
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
  const requestedAt = Date.now();
  const headers = { "Idempotency-Key": randomKey() };
  return { requestedAt, body: await presignUpload({ client, body, headers, ...during(options) }) };
}

/** The parts of a file. Currently one signed request covers all of it. */
function pieces(body: Blob, presigned: { requestedAt: number; body: Presigned }): Piece[] {
  const { asset, upload: request } = presigned.body;
  // Both by the clock of the service: the local clock may be wrong.
  const lifetimeMs = Date.parse(request.expires_at) - Date.parse(asset.created_at);
  return [{ body, request, expiresAt: presigned.requestedAt + lifetimeMs }];
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
  if (!(error instanceof UrlExpired)) return error;
  return new QuartetError("timed_out", {
    detail: "the signed URLs expired before the file was sent",
  });
}
