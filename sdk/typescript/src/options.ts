import type { CallOptions } from "./transport/calls.js";

/** What every call takes. */
export interface During {
  /** Ends the call; its reason is thrown. */
  signal?: AbortSignal;
  meta?: CallOptions;
}

declare module "./generated/core/types.gen.js" {
  // eslint-disable-next-line @typescript-eslint/no-empty-object-type
  interface ClientMeta extends CallOptions {}
}
