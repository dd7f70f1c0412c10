-- Responses stored for Idempotency-Key, for 24 hours.
CREATE TABLE links.idempotency_keys (
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
CREATE INDEX idempotency_keys_expires_at ON links.idempotency_keys (expires_at);
