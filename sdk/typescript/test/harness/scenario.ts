// Scenarios run in Node.js and in a page: they use what both have.

import { isQuartetError, Quartet, QuartetError, type QuartetOptions } from "@quartet/client";
import { Faults } from "./faults.js";

export interface World {
  /** The proxy in front of the gateway. */
  url: string;
  faults: Faults;
}

/** Gives nothing, or why this stack's settings do not allow it. */
export type Scenario = (world: World) => Promise<void | Left>;
export interface Left {
  left: string;
}
export type Scenarios = Record<string, Scenario>;

export const PASSWORD = "tangerine-violin-moss";

/** Longer than this no scenario waits for an end of its own accord, in ms. */
export const PATIENCE_MS = 10_000;

export const LONG_TOKENS: Left = { left: "core.sessions.access_token_ttl_seconds is long" };

/** Pauses that a test can wait for. */
export const QUICK = { baseDelayMs: 20, maxDelayMs: 100 };

export function address(): string {
  const letters = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) =>
    byte.toString(36),
  );
  return `test-${letters.join("")}@example.org`;
}

/** Somebody new, logged in. */
export async function somebody(
  world: World,
  options: Partial<QuartetOptions> = {},
): Promise<Quartet> {
  const { quartet, email } = await stranger(world, options);
  await quartet.login({ email, password: PASSWORD });
  return quartet;
}

/** Somebody new, not logged in. */
export async function stranger({ url, faults }: World, options: Partial<QuartetOptions> = {}) {
  await faults.set();
  const quartet = new Quartet({ url, retry: QUICK, ...options });
  const email = address();
  await quartet.account.signUp({ email, password: PASSWORD });
  return { quartet, email };
}

/** The error that the promise ends with. */
export async function failure(promise: Promise<unknown>): Promise<QuartetError> {
  const error = await promise.then(
    (value) => new Error(`it did not fail: ${JSON.stringify(value)}`),
    (reason: unknown) => reason,
  );
  if (!isQuartetError(error)) throw error;
  return error;
}

/** Waits until the condition gives something. */
export async function eventually<T>(
  what: string,
  condition: () => Promise<T | undefined>,
): Promise<T> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const value = await condition();
    if (value !== undefined) return value;
    if (Date.now() > deadline) throw new Error(`it never came: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}
