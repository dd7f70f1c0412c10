import {
  createSession,
  createUser,
  deleteMe,
  deleteSession,
  getMe,
  listSessions,
  updateMe,
} from "./generated/sdk.gen.js";
import type {
  Credentials,
  Session as SessionInfo,
  SignUp,
  User,
  UserPatch,
} from "./generated/types.gen.js";
import type { QuartetClient } from "./client.js";
import { isQuartetError } from "./errors.js";
import { Listing } from "./listing.js";
import type { During } from "./options.js";

/** Opens a session, which later calls of this client use. */
export async function login(
  client: QuartetClient,
  credentials: Credentials,
  during: During = {},
): Promise<void> {
  const requestedAt = Date.now();
  await client.session.begin(
    await createSession({ client, body: credentials, ...during }),
    requestedAt,
  );
}

/** Ends the session, locally and at the service. */
export async function logout(client: QuartetClient, during: During = {}): Promise<void> {
  if (!(await client.session.tokens())) return;
  try {
    await deleteSession({ client, path: { id: "current" }, ...during });
  } catch (error) {
    // A session that has ended already is no error.
    if (!isQuartetError(error) || error.status !== 401) throw error;
  }
  await client.session.forget();
}

/** The caller's account. */
export class Account {
  readonly #client: QuartetClient;

  constructor(client: QuartetClient) {
    this.#client = client;
  }

  signUp(body: SignUp, during: During = {}): Promise<User> {
    return createUser({ client: this.#client, body, ...during });
  }

  get(during: During = {}): Promise<User> {
    return getMe({ client: this.#client, ...during });
  }

  /** Changes the given members; null clears the display name. */
  update(body: UserPatch, during: During = {}): Promise<User> {
    return updateMe({ client: this.#client, body, ...during });
  }

  /** Deletes the account. Requires the current password and a login within the last hour. */
  async delete(currentPassword: string, during: During = {}): Promise<void> {
    const body = { current_password: currentPassword };
    await deleteMe({ client: this.#client, body, ...during });
    await this.#client.session.forget();
  }

  /** The active sessions of the caller, newest first. */
  sessions({ pageSize, ...during }: During & { pageSize?: number } = {}): Listing<SessionInfo> {
    return new Listing((cursor) =>
      listSessions({
        client: this.#client,
        query: {
          ...(pageSize === undefined ? {} : { limit: pageSize }),
          ...(cursor === undefined ? {} : { cursor }),
        },
        ...during,
      }),
    );
  }

  /** Ends a session of the caller. */
  async endSession(id: string, during: During = {}): Promise<void> {
    await deleteSession({ client: this.#client, path: { id }, ...during });
  }
}
