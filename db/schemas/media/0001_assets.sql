-- Assets: what was promised at presign, and what became of it. Row-level security is forced,
-- so that it holds for the owning role too: a transaction sees a user's rows after
-- set_config('quartet.user_id', subject, true) and nothing before. The sweep, which serves
-- nobody in particular, goes through the functions at the end of this file.

CREATE TABLE media.assets (
    id                uuid PRIMARY KEY,
    owner             text NOT NULL CHECK (owner <> ''),
    -- pending: presigned; ready: verified; failed: something else was uploaded than promised;
    -- deleting: gone for everybody, kept until its object is gone for good.
    status            text NOT NULL CHECK (status IN ('pending', 'ready', 'failed', 'deleting')),
    visibility        text NOT NULL CHECK (visibility IN ('private', 'public')),
    object_key        text NOT NULL CONSTRAINT assets_object_key_key UNIQUE,
    file_name         text NOT NULL,
    content_type      text NOT NULL,
    size_bytes        bigint NOT NULL CHECK (size_bytes > 0),
    checksum_sha256   bytea CHECK (octet_length(checksum_sha256) = 32),
    -- Until then the signed address can put an object in place, again after a deletion too.
    upload_expires_at timestamptz NOT NULL,
    -- A sweep that takes a row owns it until then.
    sweep_after       timestamptz,
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL
);

CREATE INDEX assets_owner_id_idx ON media.assets (owner, id DESC) WHERE status <> 'deleting';
CREATE INDEX assets_unfinished_idx ON media.assets (upload_expires_at)
    WHERE status IN ('pending', 'failed');
CREATE INDEX assets_deleting_idx ON media.assets (sweep_after) WHERE status = 'deleting';

CREATE FUNCTION media.is_system() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT coalesce(current_setting('quartet.system', true), '') = 'on' $$;

ALTER TABLE media.assets ENABLE ROW LEVEL SECURITY;
ALTER TABLE media.assets FORCE ROW LEVEL SECURITY;

-- An unset subject is null or '', and no row is owned by ''.
CREATE POLICY owners ON media.assets
    USING (owner = (SELECT current_setting('quartet.user_id', true)))
    WITH CHECK (owner = (SELECT current_setting('quartet.user_id', true)));
CREATE POLICY system ON media.assets
    USING ((SELECT media.is_system())) WITH CHECK ((SELECT media.is_system()));

-- Takes up to `row_limit` assets whose objects are to be removed: deleted ones, and uploads that
-- were abandoned before `abandoned`. Nobody else takes them until `lease`.
CREATE FUNCTION media.take_sweep(
    at timestamptz, abandoned timestamptz, lease timestamptz, row_limit integer
) RETURNS TABLE (id uuid, object_key text, visibility text)
    LANGUAGE plpgsql VOLATILE
    AS $$
BEGIN
    PERFORM set_config('quartet.system', 'on', true);
    RETURN QUERY
    UPDATE media.assets AS a SET status = 'deleting', sweep_after = lease
    WHERE a.id IN (
        SELECT s.id FROM media.assets AS s
        WHERE (s.status IN ('pending', 'failed') AND s.upload_expires_at < abandoned)
           OR (s.status = 'deleting' AND s.sweep_after <= at)
        ORDER BY s.id LIMIT row_limit FOR UPDATE SKIP LOCKED)
    RETURNING a.id, a.object_key, a.visibility;
    PERFORM set_config('quartet.system', 'off', true);
END
$$;

-- After the object is gone: removes the row, or puts it off while the signed address could still
-- put the object back. Gives whether the row is gone.
CREATE FUNCTION media.finish_sweep(wanted uuid, at timestamptz) RETURNS boolean
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    gone boolean;
BEGIN
    PERFORM set_config('quartet.system', 'on', true);
    DELETE FROM media.assets AS a
    WHERE a.id = wanted AND a.status = 'deleting' AND a.upload_expires_at <= at;
    gone := FOUND;
    IF NOT gone THEN
        UPDATE media.assets AS a SET sweep_after = a.upload_expires_at
        WHERE a.id = wanted AND a.status = 'deleting';
    END IF;
    PERFORM set_config('quartet.system', 'off', true);
    RETURN gone;
END
$$;

-- Answers kept for Idempotency-Key, 24 hours.
CREATE TABLE media.idempotency_keys (
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
CREATE INDEX idempotency_keys_expires_at ON media.idempotency_keys (expires_at);
