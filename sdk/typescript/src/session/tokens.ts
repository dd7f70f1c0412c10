import type { Tokens as TokensBody } from "../generated/types.gen.js";

/** What a session is kept by. Plain data: it may be stored as JSON. */
export interface Tokens {
  accessToken: string;
  /** Whoever has it is logged in. */
  refreshToken: string;
  sessionId: string;
  /** When the access token ends by this machine's clock, in ms since 1970. */
  expiresAt: number;
  /** How long it was valid when it came, in ms. */
  lifetimeMs: number;
}

/** Where tokens are kept. It may be shared, by the tabs of a browser for example. */
export interface TokenStore {
  load(): Tokens | undefined | Promise<Tokens | undefined>;
  /** `undefined` forgets them. */
  save(tokens: Tokens | undefined): void | Promise<void>;
}

/** Keeps tokens as long as the process or page lives. */
export function memoryStore(): TokenStore {
  let kept: Tokens | undefined;
  return {
    load: () => kept,
    save: (tokens) => {
      kept = tokens;
    },
  };
}

/**
 * Keeps tokens in a `Storage`: `webStore(localStorage)` for all tabs and the next visit.
 * Every script of the page can read them there.
 */
export function webStore(storage: Storage, key = "quartet.tokens"): TokenStore {
  return {
    load: () => {
      const text = storage.getItem(key);
      return text === null ? undefined : (JSON.parse(text) as Tokens);
    },
    save: (tokens) => {
      if (tokens) storage.setItem(key, JSON.stringify(tokens));
      else storage.removeItem(key);
    },
  };
}

/** Dates the answer of a login or a refresh that was asked for at `askedAt`. */
export function received(body: TokensBody, askedAt: number): Tokens {
  const lifetimeMs = body.expires_in * 1000;
  return {
    accessToken: body.access_token,
    refreshToken: body.refresh_token,
    sessionId: body.session_id,
    expiresAt: askedAt + lifetimeMs,
    lifetimeMs,
  };
}

/** Whether the token should be replaced before it is sent: a fifth of its life or 30 s are left. */
export function endsSoon({ expiresAt, lifetimeMs }: Tokens): boolean {
  return Date.now() >= expiresAt - Math.min(30_000, lifetimeMs / 5);
}

export function hasEnded({ expiresAt }: Tokens): boolean {
  return Date.now() >= expiresAt;
}
