-- People, their sessions, and the keys that sign their access tokens.

CREATE TABLE core.users (
    id            uuid PRIMARY KEY,
    email         text NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    -- A PHC string: algorithm, parameters, salt and hash.
    password_hash text NOT NULL,
    display_name  text CHECK (length(display_name) BETWEEN 1 AND 100),
    -- Goes up by one with every change that the user can see; the ETag is made of it.
    version       bigint NOT NULL DEFAULT 1,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    deleted_at    timestamptz
);
-- A deleted user's address is free at once: who comes back is a new user.
CREATE UNIQUE INDEX users_email_key ON core.users (lower(email)) WHERE deleted_at IS NULL;
CREATE INDEX users_deleted_at_idx ON core.users (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE TABLE core.sessions (
    id              uuid PRIMARY KEY,
    user_id         uuid NOT NULL REFERENCES core.users (id) ON DELETE CASCADE,
    -- As seen at the latest login or refresh.
    client_address  text NOT NULL,
    user_agent      text,
    created_at      timestamptz NOT NULL,
    last_used_at    timestamptz NOT NULL,
    -- Moves on with every refresh.
    idle_expires_at timestamptz NOT NULL,
    -- Never moves.
    expires_at      timestamptz NOT NULL,
    revoked_at      timestamptz,
    revoked_reason  text,
    CHECK ((revoked_at IS NULL) = (revoked_reason IS NULL))
);
CREATE INDEX sessions_user_id_idx ON core.sessions (user_id, id DESC);
-- least() passes over NULL: the time at which the session ended or will end.
CREATE INDEX sessions_end_idx
    ON core.sessions (least(expires_at, idle_expires_at, revoked_at));

-- Every refresh token of a session, spent ones too: using one again revokes the session.
CREATE TABLE core.refresh_tokens (
    token_hash     bytea PRIMARY KEY CHECK (octet_length(token_hash) = 32),
    session_id     uuid NOT NULL REFERENCES core.sessions (id) ON DELETE CASCADE,
    created_at     timestamptz NOT NULL,
    used_at        timestamptz,
    -- With the parent token and the server's key this gives the successor again.
    successor_salt bytea,
    successor_hash bytea,
    CHECK ((used_at IS NULL) = (successor_salt IS NULL)),
    CHECK ((used_at IS NULL) = (successor_hash IS NULL))
);
CREATE INDEX refresh_tokens_session_id_idx ON core.refresh_tokens (session_id);

-- Failed logins, per account and per client address. Keys hold no address of a person in the
-- clear: accounts are hashed.
CREATE TABLE core.throttles (
    key             text PRIMARY KEY,
    failures        integer NOT NULL CHECK (failures > 0),
    last_failure_at timestamptz NOT NULL
);
CREATE INDEX throttles_last_failure_at_idx ON core.throttles (last_failure_at);

-- A key is `next` until activates_at, then `active` until the next one's activates_at,
-- then `retired`. The state follows from the times, so that replicas cannot disagree.
CREATE TABLE core.signing_keys (
    kid                text PRIMARY KEY,
    algorithm          text NOT NULL CHECK (algorithm = 'EdDSA'),
    -- AES-256-GCM under the master key: 12 bytes nonce, ciphertext, 16 bytes tag.
    sealed_private_key bytea NOT NULL,
    created_at         timestamptz NOT NULL,
    activates_at       timestamptz NOT NULL UNIQUE
);

-- Answers kept for Idempotency-Key, 24 hours.
CREATE TABLE core.idempotency_keys (
    principal    text        NOT NULL,
    key          text        NOT NULL,
    request_hash bytea       NOT NULL,
    locked_until timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    status       smallint,
    headers      jsonb,
    body         bytea,
    PRIMARY KEY (principal, key)
);
CREATE INDEX idempotency_keys_expires_at ON core.idempotency_keys (expires_at);
