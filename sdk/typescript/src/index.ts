export { Account, login, logout } from "./accounts.js";
export { createClient, type QuartetClient, type QuartetOptions } from "./client.js";
export {
  isQuartetError,
  QuartetError,
  type ClientCode,
  type ErrorCode,
  type ErrorFacts,
  type FieldError,
  type ProblemCode,
} from "./errors.js";
export { Listing } from "./listing.js";
export type { GraphQlDocument } from "./links/document.js";
export {
  Links,
  type Click,
  type ClickPoint,
  type Link,
  type LinkQuery,
  type LinkWithClicks,
  type SeriesQuery,
} from "./links/links.js";
export { Media, type AssetQuery } from "./media/media.js";
export {
  upload,
  type UploadOptions,
  type UploadProgress,
  type UploadSource,
} from "./media/upload.js";
export type { During } from "./options.js";
export { Quartet } from "./quartet.js";
export { Session as LoginSession } from "./session/session.js";
export {
  memoryStore,
  webStore,
  type Tokens as SessionTokens,
  type TokenStore,
} from "./session/tokens.js";
export type { CallOptions } from "./transport/calls.js";
export type { RetryOptions } from "./transport/retry.js";

// Every operation of the documents, and their types.
export * from "./generated/sdk.gen.js";
export type * from "./generated/types.gen.js";
export type { ProblemCodesOf } from "./generated/facts.gen.js";
export type {
  BotReason,
  CreateLinkInput,
  Device,
  Interval,
  LinkFilter,
  LinkOrder,
  LinkStatus,
  UpdateLinkInput,
} from "./generated/links.gen.js";
