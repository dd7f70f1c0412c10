import { QuartetError } from "../errors.js";
import { orAbort } from "../wait.js";
import { expiresSoon, isExpired, received, type TokenStore, type Tokens } from "./tokens.js";
import type { Tokens as TokensBody } from "../generated/types.gen.js";

/** Keeps the caller logged in: renews the access token before it expires, one refresh at a time. */
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

  /** The stored tokens; undefined without a session. */
  async tokens(): Promise<Tokens | undefined> {
    return this.#store.load();
  }

  /** Stores the tokens of a login. */
  async begin(body: TokensBody, requestedAt: number = Date.now()): Promise<void> {
    await this.#store.save(received(body, requestedAt));
  }

  /** Removes the stored tokens. The session itself continues until it is deleted. */
  async forget(): Promise<void> {
    await this.#store.save(undefined);
  }

  /** A valid access token, renewed if necessary; undefined without a session. */
  async accessToken(signal?: AbortSignal | null): Promise<string | undefined> {
    const tokens = await this.#store.load();
    if (!tokens || !expiresSoon(tokens)) return tokens?.accessToken;
    try {
      return (await orAbort(this.#refresh(), signal))?.accessToken;
    } catch (error) {
      signal?.throwIfAborted();
      // The old token is still valid: the next call retries the refresh.
      if (isRefusal(error) || isExpired(tokens)) throw error;
      return tokens.accessToken;
    }
  }

  /** A token other than the refused one; undefined without a session. */
  async accessTokenAfter(
    refused: string,
    signal?: AbortSignal | null,
  ): Promise<string | undefined> {
    const tokens = await this.#store.load();
    if (tokens && tokens.accessToken !== refused) return this.accessToken(signal);
    return (await orAbort(this.#refresh(), signal))?.accessToken;
  }

  /** No signal aborts a refresh: other calls may wait for it. */
  #refresh(): Promise<Tokens | undefined> {
    this.#refreshing ??= this.#refreshNow().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  async #refreshNow(): Promise<Tokens | undefined> {
    const before = await this.#store.load();
    if (!before) return undefined;
    const requestedAt = Date.now();
    try {
      const after = received(await this.#exchange(before.refreshToken), requestedAt);
      // A logout or another login in the meantime takes precedence.
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
    // Another tab was faster; its tokens are valid.
    if (now && now.refreshToken !== before.refreshToken) return now;
    await this.#store.save(undefined);
    this.#onEnd?.(error);
    throw error;
  }
}

/** Whether the session has ended, so that a retry would fail again. */
function isRefusal(error: unknown): error is QuartetError {
  return error instanceof QuartetError && [400, 401, 403, 422].includes(error.status ?? 0);
}
