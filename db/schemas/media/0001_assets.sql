-- Assets: what was declared at presign, and its state. Row-level security is forced, so that it
-- applies to the table's owner too: a transaction sees the rows of its principals
-- after set_config('quartet.principals', '{...}', true) and none before. The sweep works across owners,
-- through the functions at the end of this file.

CREATE TABLE media.assets (
    id                uuid PRIMARY KEY,
    owner             text NOT NULL CHECK (owner <> ''),
    -- pending: presigned; ready: verified; failed: the uploaded file did not match;
    -- deleting: hidden from all users, kept until its objects are deleted for good.
    status            text NOT NULL CHECK (status IN ('pending', 'ready', 'failed', 'deleting')),
    visibility        text NOT NULL CHECK (visibility IN ('private', 'public')),
    -- Of the verified file, in the bucket of its visibility. The upload itself goes to
    -- incoming/ID in the private bucket.
    object_key        text NOT NULL CONSTRAINT assets_object_key_key UNIQUE,
    file_name         text NOT NULL,
    content_type      text NOT NULL,
    size_bytes        bigint NOT NULL CHECK (size_bytes > 0),
    checksum_sha256   bytea CHECK (octet_length(checksum_sha256) = 32),
    upload_expires_at timestamptz NOT NULL,
    -- Until then an upload through the signed URL may arrive, even after completion or deletion.
    -- Null once whatever arrived has been deleted.
    incoming_until    timestamptz,
    -- Until then a replica may copy the verified file to object_key.
    completing_until  timestamptz,
    -- A sweep does not take the row before this time: the lease of another sweep, or a delay.
    sweep_after       timestamptz,
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL
);

CREATE INDEX assets_owner_id_idx ON media.assets (owner, id DESC) WHERE status <> 'deleting';
CREATE INDEX assets_unfinished_idx ON media.assets (upload_expires_at)
    WHERE status IN ('pending', 'failed');
CREATE INDEX assets_incoming_idx ON media.assets (incoming_until) WHERE status = 'ready';
CREATE INDEX assets_deleting_idx ON media.assets (sweep_after) WHERE status = 'deleting';

CREATE FUNCTION media.is_system() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT coalesce(current_setting('quartet.system', true), '') = 'on' $$;

-- The principals of the transaction: who acts, and for whom. Null without: no row has an owner then.
CREATE FUNCTION media.principals() RETURNS text[]
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT nullif(current_setting('quartet.principals', true), '')::text[] $$;

ALTER TABLE media.assets ENABLE ROW LEVEL SECURITY;
ALTER TABLE media.assets FORCE ROW LEVEL SECURITY;

CREATE POLICY owners ON media.assets
    USING (owner = ANY ((SELECT media.principals())::text[]))
    WITH CHECK (owner = ANY ((SELECT media.principals())::text[]));
CREATE POLICY system ON media.assets
    USING ((SELECT media.is_system())) WITH CHECK ((SELECT media.is_system()));

-- Takes up to `row_limit` assets whose objects are to be deleted: deleted assets, and uploads whose
-- URL expired before `abandoned`. No other sweep takes them until `lease`.
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
        WHERE (s.status IN ('pending', 'failed') AND s.upload_expires_at < abandoned
               AND coalesce(s.completing_until <= at, true))
           OR (s.status = 'deleting' AND s.sweep_after <= at)
        ORDER BY s.id LIMIT row_limit FOR UPDATE SKIP LOCKED)
    RETURNING a.id, a.object_key, a.visibility;
    PERFORM set_config('quartet.system', 'off', true);
END
$$;

-- Called once the objects are deleted. Deletes the rows, or postpones that while an upload may
-- arrive or a replica may copy a file. Returns how many rows are deleted.
CREATE FUNCTION media.finish_sweep(wanted uuid[], at timestamptz) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    gone bigint;
BEGIN
    PERFORM set_config('quartet.system', 'on', true);
    DELETE FROM media.assets AS a
    WHERE a.id = ANY (wanted) AND a.status = 'deleting'
      AND coalesce(a.incoming_until <= at, true) AND coalesce(a.completing_until <= at, true);
    GET DIAGNOSTICS gone = ROW_COUNT;
    UPDATE media.assets AS a SET sweep_after = greatest(a.incoming_until, a.completing_until)
    WHERE a.id = ANY (wanted) AND a.status = 'deleting';
    PERFORM set_config('quartet.system', 'off', true);
    RETURN gone;
END
$$;

-- Takes up to `row_limit` ready assets whose signed URL can no longer create an object, in order to
-- delete what it may have created after their completion.
CREATE FUNCTION media.take_incoming(at timestamptz, lease timestamptz, row_limit integer)
    RETURNS TABLE (id uuid)
    LANGUAGE plpgsql VOLATILE
    AS $$
BEGIN
    PERFORM set_config('quartet.system', 'on', true);
    RETURN QUERY
    UPDATE media.assets AS a SET incoming_until = lease
    WHERE a.id IN (
        SELECT s.id FROM media.assets AS s
        WHERE s.status = 'ready' AND s.incoming_until <= at
        ORDER BY s.incoming_until LIMIT row_limit FOR UPDATE SKIP LOCKED)
    RETURNING a.id;
    PERFORM set_config('quartet.system', 'off', true);
END
$$;

-- Called once the incoming objects are deleted.
CREATE FUNCTION media.finish_incoming(wanted uuid[]) RETURNS void
    LANGUAGE plpgsql VOLATILE
    AS $$
BEGIN
    PERFORM set_config('quartet.system', 'on', true);
    UPDATE media.assets AS a SET incoming_until = NULL
    WHERE a.id = ANY (wanted) AND a.status = 'ready';
    PERFORM set_config('quartet.system', 'off', true);
END
$$;

-- How many assets a sweep would take; counts no further than 100,000.
CREATE FUNCTION media.sweep_backlog(at timestamptz, abandoned timestamptz) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    due bigint;
BEGIN
    PERFORM set_config('quartet.system', 'on', true);
    SELECT count(*) INTO due FROM (
        SELECT FROM media.assets AS s
        WHERE (s.status IN ('pending', 'failed') AND s.upload_expires_at < abandoned)
           OR (s.status = 'deleting' AND s.sweep_after <= at)
           OR (s.status = 'ready' AND s.incoming_until <= at)
        LIMIT 100000) AS bounded;
    PERFORM set_config('quartet.system', 'off', true);
    RETURN due;
END
$$;

-- Responses stored for Idempotency-Key, for 24 hours.
CREATE TABLE media.idempotency_keys (
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
CREATE INDEX idempotency_keys_expires_at ON media.idempotency_keys (expires_at);
