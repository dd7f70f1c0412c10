import { memoryStore, type UploadProgress } from "@quartet/client";
import { expect } from "chai";
import { failure, PATIENCE_MS, loggedInUser, type Scenarios } from "../harness/scenario.js";

const PUT = "/__store/";
const PRESIGN = "/v1/media/presign";
const COMPLETE = "/complete";
/** Large enough to be sent in several chunks. */
const SIZE = 3_000_000;

function text(size = SIZE): Blob {
  return new Blob(["quartet\n".repeat(size / 8)], { type: "text/plain;charset=utf-8" });
}

export const uploads: Scenarios = {
  "a file is uploaded with progress, listed, downloaded and deleted": async (stack) => {
    const { media } = await loggedInUser(stack);
    const file = new File([text()], "hello.txt", { type: "text/plain" });
    const asset = await media.upload(file, { visibility: "public" });
    expect(asset).to.include({ status: "ready", file_name: "hello.txt", size_bytes: SIZE });
    expect(await (await fetch(asset.url!)).text()).to.equal(await text().text());
    expect(await media.asset(asset.id)).to.deep.equal(asset);
    const { url } = await media.download(asset.id);
    expect((await (await fetch(url)).blob()).size).to.equal(SIZE);
    await media.delete(asset.id);
    expect((await failure(media.asset(asset.id))).code).to.equal("not_found");
  },

  "progress is reported during the upload": async (stack) => {
    const { media } = await loggedInUser(stack);
    await stack.faults.set(
      { path: PRESIGN, kind: "redirect-upload" },
      { path: PUT, method: "PUT", kind: "slow-upload", pauseMs: 6 },
    );
    const seen: UploadProgress[] = [];
    const totalBytes = 4 * SIZE;
    await media.upload(text(totalBytes), { onProgress: (progress) => seen.push(progress) });
    expect(seen[0]).to.deep.equal({ sentBytes: 0, totalBytes });
    expect(seen.at(-1)).to.deep.equal({ sentBytes: totalBytes, totalBytes });
    const amounts = seen.map(({ sentBytes }) => sentBytes);
    expect(amounts).to.deep.equal([...amounts].sort((a, b) => a - b));
    expect(amounts.filter((sent) => sent > 0 && sent < totalBytes)).to.have.length.above(2);
  },

  "bytes and strings can be uploaded": async (stack) => {
    const { media } = await loggedInUser(stack);
    const bytes = new TextEncoder().encode("a,b\n1,2\n");
    const csv = await media.upload(bytes, { contentType: "text/csv", fileName: "a.csv" });
    expect(csv).to.include({ size_bytes: 8, visibility: "private" });
    const note = await media.upload("# Note\n", { contentType: "text/markdown" });
    expect(note.file_name).to.equal("file");
    const { url } = await media.download(note.id);
    expect(await (await fetch(url)).text()).to.equal("# Note\n");
  },

  "lists are paginated": async (stack) => {
    const { media } = await loggedInUser(stack);
    const options = { contentType: "text/plain" };
    for (const name of ["1", "2", "3", "4", "5"]) {
      await media.upload(name, { ...options, fileName: `${name}.txt` });
    }
    await stack.faults.set();
    const names: string[] = [];
    for await (const asset of media.assets({ pageSize: 2 })) names.push(asset.file_name);
    expect(names).to.deep.equal(["5.txt", "4.txt", "3.txt", "2.txt", "1.txt"]);
    expect(await stack.faults.log("/v1/media/assets", "GET")).to.have.lengthOf(3);
    await stack.faults.set();
    for await (const asset of media.assets({ pageSize: 2, status: "ready" })) {
      expect(asset.file_name).to.equal("5.txt");
      break;
    }
    expect(await stack.faults.log("/v1/media/assets", "GET")).to.have.lengthOf(1);
    expect(await media.assets({ visibility: "public" }).toArray()).to.deep.equal([]);
  },

  "an interrupted upload starts over": async (stack) => {
    const { media } = await loggedInUser(stack);
    const amounts: number[] = [];
    await stack.faults.set(
      { path: PRESIGN, kind: "redirect-upload" },
      { path: PUT, method: "PUT", kind: "cut-upload", afterBytes: SIZE / 2 },
      { path: PUT, method: "PUT", kind: "cut-before" },
    );
    const onProgress = ({ sentBytes }: UploadProgress) => amounts.push(sentBytes);
    const asset = await media.upload(text(), { onProgress, retry: { baseDelayMs: 20 } });
    expect(asset.status).to.equal("ready");
    expect(await stack.faults.log(PUT, "PUT")).to.have.lengthOf(3);
    expect(await stack.faults.log(PRESIGN)).to.have.lengthOf(1);
    expect(amounts.filter((sent) => sent === 0)).to.have.lengthOf(3);
    const { url } = await media.download(asset.id);
    expect((await (await fetch(url)).blob()).size).to.equal(SIZE);
  },

  "a file whose response was lost is completed": async (stack) => {
    const { media } = await loggedInUser(stack);
    await stack.faults.set(
      { path: PRESIGN, kind: "redirect-upload" },
      { path: PUT, method: "PUT", kind: "cut-after" },
      { path: COMPLETE, kind: "cut-after" },
    );
    const asset = await media.upload(text(), { retry: { baseDelayMs: 20 } });
    expect(asset.status).to.equal("ready");
    const statuses = (await stack.faults.log(PUT, "PUT")).map(({ status }) => status);
    expect(statuses).to.deep.equal([200, 412]);
    expect(await stack.faults.log(COMPLETE)).to.have.lengthOf(2);
  },

  "an expired URL is replaced": async (stack) => {
    const { media } = await loggedInUser(stack);
    const body = "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>";
    await stack.faults.set(
      { path: PRESIGN, kind: "redirect-upload", times: 2 },
      { path: PUT, method: "PUT", kind: "answer", status: 403, body },
    );
    const asset = await media.upload(text());
    expect(asset.status).to.equal("ready");
    const presigned = await stack.faults.log(PRESIGN);
    expect(new Set(presigned.map(({ key }) => key)).size).to.equal(2);
    const assets = await media.assets({ status: "ready" }).toArray();
    expect(assets.map(({ id }) => id)).to.deep.equal([asset.id]);
  },

  "a URL that really expires is replaced": async (stack) => {
    const { media, client } = await loggedInUser(stack);
    const probe = await client.post<
      { 201: { upload: { expires_at: string }; asset: { created_at: string } } },
      unknown,
      true,
      "data"
    >({
      url: PRESIGN,
      responseStyle: "data",
      security: [{ type: "http", scheme: "bearer" }],
      headers: { "content-type": "application/json" },
      body: { file_name: "a", content_type: "text/plain", size_bytes: 1, visibility: "private" },
    });
    const lifetimeMs = Date.parse(probe.upload.expires_at) - Date.parse(probe.asset.created_at);
    if (lifetimeMs > PATIENCE_MS) return { skipped: "media.uploads.ttl_seconds is long" };
    await stack.faults.set(
      { path: PRESIGN, kind: "redirect-upload", times: 2 },
      { path: PUT, method: "PUT", kind: "delay", ms: lifetimeMs + 1500 },
    );
    // Stores read this much of a refused body, so the refusal is not lost to a reset.
    const asset = await media.upload(text(800_000));
    expect(asset.status).to.equal("ready");
    const statuses = (await stack.faults.log(PUT, "PUT")).map(({ status }) => status);
    expect(statuses).to.deep.equal([403, 200]);
  },

  "a file that differs from the presigned one is refused by the store and the service": async (
    stack,
  ) => {
    const { media } = await loggedInUser(stack);
    const wrong = { contentType: "text/plain", checksumSha256: "0".repeat(64) };
    const refused = await failure(media.upload("quartet", wrong));
    expect(refused).to.include({ code: "upload_refused", status: 400 });
    const error = await failure(media.upload("no picture", { contentType: "image/png" }));
    expect([error.code, error.status]).to.deep.equal(["upload_mismatch", 422]);
    expect(error.field("/content_type")).to.be.an("object");
    expect(error.requestId).to.match(/^[0-9a-f-]{36}$/);
    const type = await failure(media.upload("x", { contentType: "text/html" }));
    expect(type.code).to.equal("invalid_body");
    expect(type.field("/content_type")).to.be.an("object");
  },

  "a deletion whose response is lost succeeds": async (stack) => {
    const { media } = await loggedInUser(stack);
    const { id } = await media.upload("x", { contentType: "text/plain" });
    await stack.faults.set({ path: id, method: "DELETE", kind: "cut-after" });
    await media.delete(id);
    const statuses = (await stack.faults.log(id, "DELETE")).map(({ status }) => status);
    expect(statuses).to.deep.equal([204, 404]);
    expect((await failure(media.delete(id))).code).to.equal("not_found");
  },

  "a busy store is retried, up to a limit": async (stack) => {
    const { media } = await loggedInUser(stack);
    const busy = { path: PUT, method: "PUT", kind: "answer", status: 503 } as const;
    await stack.faults.set({ path: PRESIGN, kind: "redirect-upload" }, { ...busy, times: 2 });
    const retry = { baseDelayMs: 20 };
    expect(await media.upload(text(), { retry })).to.include({ status: "ready" });
    await stack.faults.set({ path: PRESIGN, kind: "redirect-upload" }, { ...busy, times: 9 });
    const error = await failure(media.upload(text(), { retry: { ...retry, maxRetries: 1 } }));
    expect(error).to.include({ code: "upload_refused", status: 503 });
    expect(await stack.faults.log(PUT, "PUT")).to.have.lengthOf(2);
  },

  "a stalled upload starts over, and a signal aborts it": async (stack) => {
    const { media } = await loggedInUser(stack, { tokens: memoryStore() });
    const silence = { path: PUT, method: "PUT", kind: "silence" } as const;
    await stack.faults.set({ path: PRESIGN, kind: "redirect-upload" }, silence);
    const asset = await media.upload(text(), {
      stallMs: 500,
      answerMs: 500,
      retry: { baseDelayMs: 20 },
    });
    expect(asset.status).to.equal("ready");
    await stack.faults.set({ path: PRESIGN, kind: "redirect-upload" }, { ...silence, times: 9 });
    const controller = new AbortController();
    const { signal } = controller;
    const upload = media.upload(text(), { signal }).catch((reason: unknown) => reason);
    while ((await stack.faults.log(PUT, "PUT")).length === 0);
    const reason = new Error("enough");
    controller.abort(reason);
    expect(await upload).to.equal(reason);
  },
};
