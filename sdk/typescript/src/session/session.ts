import { QuartetError } from "../errors.js";
import { orAbort } from "../transport/waiting.js";
import { endsSoon, hasEnded, received, type TokenStore, type Tokens } from "./tokens.js";
import type { Tokens as TokensBody } from "../generated/types.gen.js";

/** Keeps the caller logged in: one refresh at a time, ahead of the access token's end. */
export class Session {
  readonly #store: TokenStore;
  readonly #exchange: (refreshToken: string) => Promise<TokensBody>;
  readonly #onEnd: ((error: QuartetError) => void) | undefined;
  #refreshing: Promise<Tokens | undefined> | undefined;

  constructor(
    store: TokenStore,
    exchange: (refreshToken: string) => Promise<TokensBody>,
    onEnd?: (error: QuartetError) => void,
  ) {
    this.#store = store;
    this.#exchange = exchange;
    this.#onEnd = onEnd;
  }

  /** The tokens as they are kept; nothing when nobody is logged in. */
  async tokens(): Promise<Tokens | undefined> {
    return this.#store.load();
  }

  /** Takes the tokens of a login. */
  async begin(body: TokensBody, askedAt: number = Date.now()): Promise<void> {
    await this.#store.save(received(body, askedAt));
  }

  /** Forgets the tokens. The session itself goes on until it is deleted. */
  async forget(): Promise<void> {
    await this.#store.save(undefined);
  }

  /** A token to send, refreshed before it ends; nothing when nobody is logged in. */
  async accessToken(signal?: AbortSignal | null): Promise<string | undefined> {
    const tokens = await this.#store.load();
    if (!tokens || !endsSoon(tokens)) return tokens?.accessToken;
    try {
      return (await orAbort(this.#refresh(), signal))?.accessToken;
    } catch (error) {
      signal?.throwIfAborted();
      // It is refused nowhere yet: the next call tries again.
      if (isRefusal(error) || hasEnded(tokens)) throw error;
      return tokens.accessToken;
    }
  }

  /** A token other than the one that was refused; nothing when there is none to be had. */
  async accessTokenAfter(
    refused: string,
    signal?: AbortSignal | null,
  ): Promise<string | undefined> {
    const tokens = await this.#store.load();
    if (tokens && tokens.accessToken !== refused) return this.accessToken(signal);
    return (await orAbort(this.#refresh(), signal))?.accessToken;
  }

  /** Nobody's signal ends a refresh: others may wait for it. */
  #refresh(): Promise<Tokens | undefined> {
    this.#refreshing ??= this.#refreshNow().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  async #refreshNow(): Promise<Tokens | undefined> {
    const before = await this.#store.load();
    if (!before) return undefined;
    const askedAt = Date.now();
    try {
      const after = received(await this.#exchange(before.refreshToken), askedAt);
      // A log-out or another login meanwhile counts more.
      const now = await this.#store.load();
      if (now?.refreshToken !== before.refreshToken) return now;
      await this.#store.save(after);
      return after;
    } catch (error) {
      return await this.#afterFailure(before, error);
    }
  }

  async #afterFailure(before: Tokens, error: unknown): Promise<Tokens> {
    if (!isRefusal(error)) throw error;
    const now = await this.#store.load();
    // Another tab was quicker; its tokens are good.
    if (now && now.refreshToken !== before.refreshToken) return now;
    await this.#store.save(undefined);
    this.#onEnd?.(error);
    throw error;
  }
}

/** The session is over, and no later try will help. */
function isRefusal(error: unknown): error is QuartetError {
  return error instanceof QuartetError && [400, 401, 403, 422].includes(error.status ?? 0);
}
