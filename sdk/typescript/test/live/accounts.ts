import { createUser, deleteSession, getMe, listAssets } from "@quartet/client";
import { expect } from "chai";
import {
  newEmail,
  failure,
  PASSWORD,
  loggedInUser,
  signedUpUser,
  type Scenarios,
} from "../harness/scenario.js";

export const accounts: Scenarios = {
  "an account from sign-up to deletion": async (stack) => {
    const { quartet, email } = await signedUpUser(stack);
    await quartet.login({ email, password: PASSWORD });
    expect((await quartet.account.get()).email).to.equal(email);
    const changed = await quartet.account.update({ display_name: "Ada" });
    expect(changed.display_name).to.equal("Ada");
    expect((await quartet.account.update({ display_name: null })).display_name).to.equal(null);
    await quartet.account.delete(PASSWORD);
    expect(await quartet.client.session.tokens()).to.equal(undefined);
    const error = await failure(quartet.login({ email, password: PASSWORD }));
    expect([error.code, error.status]).to.deep.equal(["invalid_credentials", 401]);
  },

  "sessions can be listed and ended": async (stack) => {
    const { quartet, email } = await signedUpUser(stack);
    await quartet.login({ email, password: PASSWORD });
    const first = await quartet.client.session.tokens();
    await quartet.login({ email, password: PASSWORD });
    const sessions = await quartet.account.sessions({ pageSize: 1 }).toArray();
    expect(sessions.map(({ current }) => current)).to.deep.equal([true, false]);
    expect(sessions[1]!.id).to.equal(first!.sessionId);
    await quartet.account.endSession(first!.sessionId);
    expect(await quartet.account.sessions().toArray()).to.have.lengthOf(1);
    await quartet.logout();
    expect((await failure(quartet.account.get())).code).to.equal("unauthenticated");
    await quartet.logout();
  },

  "a problem becomes a typed error": async (stack) => {
    const { quartet, email } = await signedUpUser(stack);
    const error = await failure(
      quartet.account.signUp({ email: "not-an-email", password: "short" }),
    );
    expect([error.code, error.status]).to.deep.equal(["invalid_body", 422]);
    expect(error.errors.map(({ pointer }) => pointer)).to.include.members(["/email", "/password"]);
    expect(error.field("/password")?.code).to.equal("too_short");
    expect(error.requestId).to.match(/^[0-9a-f-]{36}$/);
    expect(error.message).to.include(error.requestId);
    const taken = await failure(quartet.account.signUp({ email, password: PASSWORD }));
    expect([taken.code, taken.status]).to.deep.equal(["email_taken", 409]);
  },

  "an invalid parameter is named": async (stack) => {
    const { client } = await loggedInUser(stack);
    const error = await failure(listAssets({ client, query: { cursor: "nonsense" } }));
    expect([error.code, error.status]).to.deep.equal(["invalid_parameter", 400]);
    expect(error.field("cursor")).to.be.an("object");
  },

  "the generated functions work with the client": async (stack) => {
    const { client } = await loggedInUser(stack);
    const email = newEmail();
    const other = await createUser({ client, body: { email, password: PASSWORD } });
    const me = await getMe({ client });
    expect(other.id).not.to.equal(me.id);
    const unknown = { id: "ses_00000000000000000000000000" };
    const error = await failure(deleteSession({ client, path: unknown }));
    expect([error.code, error.status]).to.deep.equal(["not_found", 404]);
    const etag = await getMe({ client, headers: { "If-None-Match": "*" } }).catch(
      (reason) => reason,
    );
    expect(etag).to.include({ code: "not_modified", status: 304 });
  },
};
