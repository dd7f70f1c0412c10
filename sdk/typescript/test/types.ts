// Compiled, never run: what must and must not type-check.

import {
  createClient,
  getMe,
  isQuartetError,
  presignUpload,
  Quartet,
  type Asset,
  type Link,
  type ProblemCodesOf,
  type QuartetError,
  type User,
} from "@quartet/client";

type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const holds = <_T extends true>() => undefined;

export async function operations(): Promise<void> {
  const client = createClient({ url: "https://api.example.com" });
  const me = await getMe({ client, meta: { timeoutMs: 1000 } });
  holds<Equal<typeof me, User>>();
  // @ts-expect-error a client is required
  await getMe({});
  // @ts-expect-error not an option of a call
  await getMe({ client, meta: { timeout: 1000 } });
  const body = { file_name: "a", content_type: "text/plain", size_bytes: 1 };
  // @ts-expect-error visibility is missing
  await presignUpload({ client, body });
  // @ts-expect-error not a visibility
  await presignUpload({ client, body: { ...body, visibility: "secret" } });
}

export async function conveniences(): Promise<void> {
  // @ts-expect-error a URL is required
  new Quartet({});
  const quartet = new Quartet({ url: "https://api.example.com" });
  for await (const asset of quartet.media.assets({ status: "ready" })) {
    holds<Equal<typeof asset, Asset>>();
  }
  // @ts-expect-error no such status
  quartet.media.assets({ status: "done" });
  const link = await quartet.links.create({ url: "https://example.org" });
  holds<Equal<typeof link, Link>>();
  holds<Equal<typeof link.title, string | null>>();
  // @ts-expect-error the target URL is missing
  await quartet.links.create({ slug: "abc" });
  // @ts-expect-error not a field to order by
  quartet.links.list({ orderBy: [{ field: "COLOUR" }] });
  for await (const click of quartet.links.clicks(link.id)) {
    holds<Equal<typeof click.totals.total, number>>();
    holds<Equal<typeof click.device, "DESKTOP" | "MOBILE" | "OTHER" | "TABLET">>();
  }
}

export function errors(error: unknown): void {
  if (isQuartetError(error)) holds<Equal<typeof error, QuartetError>>();
  if (isQuartetError(error, "slug_taken", "timed_out")) {
    holds<Equal<typeof error.code, "slug_taken" | "timed_out">>();
    holds<Equal<typeof error.requestId, string | undefined>>();
  }
  // @ts-expect-error no such code
  isQuartetError(error, "slug_takn");
  const taken: ProblemCodesOf["createUser"] = "email_taken";
  // @ts-expect-error not a code of signing up
  const wrong: ProblemCodesOf["createUser"] = "slug_taken";
  void [taken, wrong];
}
