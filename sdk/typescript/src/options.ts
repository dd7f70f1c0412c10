import type { CallOptions } from "./transport/calls.js";

/** Options of every call. */
export interface During {
  /** Aborts the call, which then throws the reason of the signal. */
  signal?: AbortSignal;
  meta?: CallOptions;
}

declare module "./generated/core/types.gen.js" {
  // eslint-disable-next-line @typescript-eslint/no-empty-object-type
  interface ClientMeta extends CallOptions {}
}
