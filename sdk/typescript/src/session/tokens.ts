import type { Tokens as TokensBody } from "../generated/types.gen.js";

/** The tokens of a session. Plain data that can be stored as JSON. */
export interface Tokens {
  accessToken: string;
  /** Grants access to the session. */
  refreshToken: string;
  sessionId: string;
  /** When the access token expires by the local clock, in ms since 1970. */
  expiresAt: number;
  /** Its total lifetime, in ms. */
  lifetimeMs: number;
}

/** Stores tokens. May be shared, for example by the tabs of a browser. */
export interface TokenStore {
  load(): Tokens | undefined | Promise<Tokens | undefined>;
  /** `undefined` removes them. */
  save(tokens: Tokens | undefined): void | Promise<void>;
}

/** Stores tokens for the lifetime of the process or page. */
export function memoryStore(): TokenStore {
  let stored: Tokens | undefined;
  return {
    load: () => stored,
    save: (tokens) => {
      stored = tokens;
    },
  };
}

/**
 * Stores tokens in a `Storage`: `webStore(localStorage)` shares them between tabs and visits.
 * Every script of the page can read them.
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

/** The tokens of a login or refresh that was requested at `requestedAt`. */
export function received(body: TokensBody, requestedAt: number): Tokens {
  const lifetimeMs = body.expires_in * 1000;
  return {
    accessToken: body.access_token,
    refreshToken: body.refresh_token,
    sessionId: body.session_id,
    expiresAt: requestedAt + lifetimeMs,
    lifetimeMs,
  };
}

/** Whether to renew the token: less than a fifth of its lifetime, or less than 30 s, is left. */
export function expiresSoon({ expiresAt, lifetimeMs }: Tokens): boolean {
  return Date.now() >= expiresAt - Math.min(30_000, lifetimeMs / 5);
}

export function isExpired({ expiresAt }: Tokens): boolean {
  return Date.now() >= expiresAt;
}
