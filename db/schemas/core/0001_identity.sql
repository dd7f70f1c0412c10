-- Users, their sessions, and the keys that sign their access tokens.

CREATE TABLE core.users (
    id           uuid PRIMARY KEY,
    display_name text CHECK (length(display_name) BETWEEN 1 AND 100),
    -- Incremented by every change visible to the user; part of the ETag.
    version      bigint NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    deleted_at   timestamptz
);
CREATE INDEX users_deleted_at_idx ON core.users (deleted_at) WHERE deleted_at IS NOT NULL;

-- The addresses of a user. One of them is primary: it is shown, and logs in.
CREATE TABLE core.emails (
    id          uuid PRIMARY KEY,
    user_id     uuid NOT NULL REFERENCES core.users (id) ON DELETE CASCADE,
    address     text NOT NULL CHECK (length(address) BETWEEN 3 AND 254),
    is_primary  boolean NOT NULL,
    -- When the user proved to receive mail at this address.
    verified_at timestamptz,
    created_at  timestamptz NOT NULL,
    -- Set when the user is deleted: the address is free at once.
    released_at timestamptz
);
CREATE UNIQUE INDEX emails_address_key ON core.emails (lower(address)) WHERE released_at IS NULL;
CREATE UNIQUE INDEX emails_primary_key ON core.emails (user_id) WHERE is_primary;
CREATE INDEX emails_user_id_idx ON core.emails (user_id);

-- A user without a row here cannot log in with a password.
CREATE TABLE core.passwords (
    user_id    uuid PRIMARY KEY REFERENCES core.users (id) ON DELETE CASCADE,
    -- A PHC string: the id of the scheme, parameters, salt and hash. The id decides how it is verified.
    hash       text NOT NULL CHECK (hash ~ '^\$[a-z0-9-]{1,32}\$' AND length(hash) <= 512),
    -- When the user chose the password. A rehash is no change.
    changed_at timestamptz NOT NULL
);

-- Accounts at identity providers by which a user logs in.
CREATE TABLE core.identities (
    id           uuid PRIMARY KEY,
    user_id      uuid NOT NULL REFERENCES core.users (id) ON DELETE CASCADE,
    -- The name of the provider in the settings.
    provider     text NOT NULL CHECK (provider ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    -- The provider's id of the account (`sub`). Never an email: those change hands.
    subject      text NOT NULL CHECK (octet_length(subject) BETWEEN 1 AND 255),
    created_at   timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    -- Set when the user is deleted: the account at the provider may sign up again.
    released_at  timestamptz
);
CREATE UNIQUE INDEX identities_subject_key ON core.identities (provider, subject COLLATE "C")
    WHERE released_at IS NULL;
CREATE INDEX identities_user_id_idx ON core.identities (user_id);

-- What a user has allowed an OAuth client to do. A client has one grant of a user that is not revoked.
CREATE TABLE core.grants (
    id         uuid PRIMARY KEY,
    user_id    uuid NOT NULL REFERENCES core.users (id) ON DELETE CASCADE,
    -- Possibly a URL (client ID metadata documents).
    client_id  text NOT NULL CHECK (octet_length(client_id) BETWEEN 1 AND 2048),
    scopes     text[] NOT NULL
        CHECK (cardinality(scopes) <= 64 AND array_position(scopes, NULL) IS NULL),
    -- Audiences that its tokens may name (RFC 8707).
    resources  text[] NOT NULL
        CHECK (cardinality(resources) <= 16 AND array_position(resources, NULL) IS NULL),
    created_at timestamptz NOT NULL,
    -- The latest consent.
    updated_at timestamptz NOT NULL CHECK (updated_at >= created_at),
    revoked_at timestamptz
);
CREATE UNIQUE INDEX grants_client_key ON core.grants (user_id, client_id) WHERE revoked_at IS NULL;
CREATE INDEX grants_user_id_idx ON core.grants (user_id);

CREATE TABLE core.sessions (
    id              uuid PRIMARY KEY,
    user_id         uuid NOT NULL REFERENCES core.users (id) ON DELETE CASCADE,
    -- Client IP at the latest login or refresh.
    client_address  text NOT NULL,
    user_agent      text,
    -- When and by which methods (RFC 8176) the user was authenticated; refreshes change neither.
    authenticated_at timestamptz NOT NULL,
    auth_methods    text[] NOT NULL CHECK (auth_methods <> '{}'),
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

-- The refresh tokens of a session: the one that is not used yet, and the latest one that was. Any
-- other token of the family is an older one: reuse revokes the session.
CREATE TABLE core.refresh_tokens (
    session_id     uuid PRIMARY KEY REFERENCES core.sessions (id) ON DELETE CASCADE,
    -- Of the secret that all tokens of the session share.
    family_hash    bytea NOT NULL UNIQUE CHECK (octet_length(family_hash) = 32),
    unused_hash    bytea NOT NULL CHECK (octet_length(unused_hash) = 32),
    used_hash      bytea CHECK (octet_length(used_hash) = 32),
    used_at        timestamptz,
    -- With the used token and the master key, derives the unused one again.
    successor_salt bytea,
    CHECK (num_nulls(used_hash, used_at, successor_salt) IN (0, 3))
);

-- Failed logins, per account and per client network. Keys contain no emails: accounts are hashed.
CREATE TABLE core.throttles (
    key             text PRIMARY KEY,
    failures        integer NOT NULL CHECK (failures > 0),
    last_failure_at timestamptz NOT NULL
);
CREATE INDEX throttles_last_failure_at_idx ON core.throttles (last_failure_at);

-- A key is published until activates_at, then active until the activates_at of the next one of its
-- algorithm, then retired. The state follows from the times alone, so replicas cannot disagree.
CREATE TABLE core.signing_keys (
    kid                text PRIMARY KEY,
    algorithm          text NOT NULL CHECK (algorithm IN ('EdDSA', 'ES256', 'RS256')),
    -- AES-256-GCM under a master key: version, 4 bytes key id, 12 bytes nonce, ciphertext, tag.
    -- Algorithm and kid are authenticated with it.
    sealed_private_key bytea NOT NULL,
    created_at         timestamptz NOT NULL,
    activates_at       timestamptz NOT NULL,
    UNIQUE (algorithm, activates_at)
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
    -- Sealed: only a repetition of the request can open it.
    body         bytea,
    PRIMARY KEY (principal, key)
);
CREATE INDEX idempotency_keys_expires_at ON core.idempotency_keys (expires_at);
