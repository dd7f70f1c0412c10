import { deleteAsset, downloadAsset, getAsset, listAssets } from "../generated/sdk.gen.js";
import type { Asset, AssetStatus, Download, Visibility } from "../generated/types.gen.js";
import type { QuartetClient } from "../client.js";
import { Listing } from "../listing.js";
import type { During } from "../options.js";
import { upload, type UploadOptions, type UploadSource } from "./upload.js";

export interface AssetQuery extends During {
  status?: AssetStatus;
  visibility?: Visibility;
  /** Assets per request, 1 to 100. */
  pageSize?: number;
}

/** Files: uploads, lists, downloads. */
export class Media {
  readonly #client: QuartetClient;

  constructor(client: QuartetClient) {
    this.#client = client;
  }

  /** Uploads a file and returns the asset once it is verified. */
  upload(source: UploadSource, options?: UploadOptions): Promise<Asset> {
    return upload(this.#client, source, options);
  }

  /** The assets of the caller, newest first. */
  assets({ pageSize, status, visibility, ...during }: AssetQuery = {}): Listing<Asset> {
    return new Listing((cursor) =>
      listAssets({
        client: this.#client,
        query: {
          ...(pageSize === undefined ? {} : { limit: pageSize }),
          ...(status ? { status } : {}),
          ...(visibility ? { visibility } : {}),
          ...(cursor === undefined ? {} : { cursor }),
        },
        ...during,
      }),
    );
  }

  asset(id: string, during: During = {}): Promise<Asset> {
    return getAsset({ client: this.#client, path: { id }, ...during });
  }

  /** A URL to download the file from; it expires soon if the file is private. */
  download(id: string, during: During = {}): Promise<Download> {
    return downloadAsset({ client: this.#client, path: { id }, ...during });
  }

  async delete(id: string, during: During = {}): Promise<void> {
    await deleteAsset({ client: this.#client, path: { id }, ...during });
  }
}
