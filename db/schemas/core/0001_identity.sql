-- Users, their sessions, and the keys that sign their access tokens.

CREATE TABLE core.users (
    id            uuid PRIMARY KEY,
    email         text NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    -- A PHC string: algorithm, parameters, salt and hash.
    password_hash text NOT NULL,
    display_name  text CHECK (length(display_name) BETWEEN 1 AND 100),
    -- Incremented by every change visible to the user; part of the ETag.
    version       bigint NOT NULL DEFAULT 1,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    deleted_at    timestamptz
);
-- The email of a deleted user is free at once.
CREATE UNIQUE INDEX users_email_key ON core.users (lower(email)) WHERE deleted_at IS NULL;
CREATE INDEX users_deleted_at_idx ON core.users (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE TABLE core.sessions (
    id              uuid PRIMARY KEY,
    user_id         uuid NOT NULL REFERENCES core.users (id) ON DELETE CASCADE,
    -- Client IP at the latest login or refresh.
    client_address  text NOT NULL,
    user_agent      text,
    created_at      timestamptz NOT NULL,
    last_used_at    timestamptz NOT NULL,
    -- Extended by every refresh.
    idle_expires_at timestamptz NOT NULL,
    -- Never extended.
    expires_at      timestamptz NOT NULL,
    revoked_at      timestamptz,
    revoked_reason  text,
    CHECK ((revoked_at IS NULL) = (revoked_reason IS NULL))
);
CREATE INDEX sessions_user_id_idx ON core.sessions (user_id, id DESC);
-- least() ignores NULL: the time at which the session ended or will end.
CREATE INDEX sessions_end_idx
    ON core.sessions (least(expires_at, idle_expires_at, revoked_at));

-- Every refresh token of a session, used ones included: reuse revokes the session.
CREATE TABLE core.refresh_tokens (
    token_hash     bytea PRIMARY KEY CHECK (octet_length(token_hash) = 32),
    session_id     uuid NOT NULL REFERENCES core.sessions (id) ON DELETE CASCADE,
    created_at     timestamptz NOT NULL,
    used_at        timestamptz,
    -- With this token and the master key, derives the successor again.
    successor_salt bytea,
    successor_hash bytea,
    CHECK ((used_at IS NULL) = (successor_salt IS NULL)),
    CHECK ((used_at IS NULL) = (successor_hash IS NULL))
);
CREATE INDEX refresh_tokens_session_id_idx ON core.refresh_tokens (session_id);

-- Failed logins, per account and per client network. Keys contain no emails: accounts are hashed.
CREATE TABLE core.throttles (
    key             text PRIMARY KEY,
    failures        integer NOT NULL CHECK (failures > 0),
    last_failure_at timestamptz NOT NULL
);
CREATE INDEX throttles_last_failure_at_idx ON core.throttles (last_failure_at);

-- A key is published until activates_at, then active until the next one's activates_at, then
-- retired. The state follows from the times alone, so replicas cannot disagree.
CREATE TABLE core.signing_keys (
    kid                text PRIMARY KEY,
    algorithm          text NOT NULL CHECK (algorithm = 'EdDSA'),
    -- AES-256-GCM under a master key: version, 4 bytes key id, 12 bytes nonce, ciphertext, tag.
    sealed_private_key bytea NOT NULL,
    created_at         timestamptz NOT NULL,
    activates_at       timestamptz NOT NULL UNIQUE
);

-- Responses stored for Idempotency-Key, for 24 hours.
CREATE TABLE core.idempotency_keys (
    principal    text        NOT NULL,
    key          text        NOT NULL,
    request_hash bytea       NOT NULL,
    -- The request that may settle the key.
    claim        uuid        NOT NULL,
    locked_until timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    status       smallint,
    headers      jsonb,
    body         bytea,
    PRIMARY KEY (principal, key)
);
CREATE INDEX idempotency_keys_expires_at ON core.idempotency_keys (expires_at);
