-- Keys with which programs act for a user. The gateway exchanges a key for an access token, whose `sid`
-- is the id of the key.
CREATE TABLE core.api_keys (
    id           uuid PRIMARY KEY,
    user_id      uuid NOT NULL REFERENCES core.users (id) ON DELETE CASCADE,
    name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    -- SHA-256 of its secret.
    hash         bytea NOT NULL UNIQUE CHECK (octet_length(hash) = 32),
    -- What its tokens permit. Never empty: a token without scopes permits everything.
    scopes       text[] NOT NULL
        CHECK (cardinality(scopes) BETWEEN 1 AND 64 AND array_position(scopes, NULL) IS NULL),
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL CHECK (expires_at > created_at),
    -- The latest exchange.
    last_used_at timestamptz,
    revoked_at   timestamptz
);
CREATE INDEX api_keys_user_id_idx ON core.api_keys (user_id, id DESC);
-- least() ignores NULL: the time at which the key ended or will end.
CREATE INDEX api_keys_end_idx ON core.api_keys (least(expires_at, revoked_at));

-- Whether `session_id` is the id of a key: both have tokens whose `sid` it is.
ALTER TABLE core.revocations ADD COLUMN is_api_key boolean NOT NULL DEFAULT false;

-- As for sessions: no statement that revokes keys can forget it.
CREATE FUNCTION core.note_api_key_revocation() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO core.revocations (session_id, revoked_at, is_api_key) VALUES (NEW.id, NEW.revoked_at, true)
    ON CONFLICT (session_id) DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER note_revocation AFTER UPDATE OF revoked_at ON core.api_keys
    FOR EACH ROW WHEN (OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL)
    EXECUTE FUNCTION core.note_api_key_revocation();
