// Scenarios run in Node.js and in pages, and use only what both have.

import { isQuartetError, Quartet, QuartetError, type QuartetOptions } from "@quartet/client";
import { Faults } from "./faults.js";

export interface TestStack {
  /** The proxy in front of the gateway. */
  url: string;
  faults: Faults;
}

/** Returns why it was skipped if the settings of the stack do not allow it. */
export type Scenario = (stack: TestStack) => Promise<void | Skipped>;
export interface Skipped {
  skipped: string;
}
export type Scenarios = Record<string, Scenario>;

export const PASSWORD = "tangerine-violin-moss";

/** The longest time that a scenario waits for an expiry, in ms. */
export const PATIENCE_MS = 10_000;

export const LONG_TOKENS: Skipped = { skipped: "core.sessions.access_token_ttl_seconds is long" };

/** Short pauses for tests. */
export const QUICK = { baseDelayMs: 20, maxDelayMs: 100 };

export function newEmail(): string {
  const letters = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) =>
    byte.toString(36),
  );
  return `test-${letters.join("")}@example.org`;
}

/** A new user, logged in. */
export async function loggedInUser(
  stack: TestStack,
  options: Partial<QuartetOptions> = {},
): Promise<Quartet> {
  const { quartet, email } = await signedUpUser(stack, options);
  await quartet.login({ email, password: PASSWORD });
  return quartet;
}

/** A new user, not logged in. */
export async function signedUpUser(
  { url, faults }: TestStack,
  options: Partial<QuartetOptions> = {},
) {
  await faults.set();
  const quartet = new Quartet({ url, retry: QUICK, ...options });
  const email = newEmail();
  await quartet.account.signUp({ email, password: PASSWORD });
  return { quartet, email };
}

/** The error that rejects the promise. */
export async function failure(promise: Promise<unknown>): Promise<QuartetError> {
  const error = await promise.then(
    (value) => new Error(`it did not fail: ${JSON.stringify(value)}`),
    (reason: unknown) => reason,
  );
  if (!isQuartetError(error)) throw error;
  return error;
}

/** Waits until the condition returns a value. */
export async function eventually<T>(
  what: string,
  condition: () => Promise<T | undefined>,
): Promise<T> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const value = await condition();
    if (value !== undefined) return value;
    if (Date.now() > deadline) throw new Error(`timed out waiting: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}
