-- Assets, their versions and uploads. Row-level security is forced, so that it applies to the
-- tables' owner too: a transaction sees the rows of its principals after
-- set_config('quartet.principals', '{...}', true) and none before. The sweep works across owners,
-- through the functions at the end of this file.

-- What a user has: a name, and who may see it.
CREATE TABLE media.assets (
    id              uuid PRIMARY KEY,
    owner           text NOT NULL CHECK (owner <> ''),
    -- pending: no file yet; ready: there is a verified version; failed: the uploaded file did not
    -- match; deleting: hidden from all users, kept until its objects are deleted for good.
    status          text NOT NULL CHECK (status IN ('pending', 'ready', 'failed', 'deleting')),
    visibility      text NOT NULL CHECK (visibility IN ('private', 'public')),
    file_name       text NOT NULL,
    -- The version that is served.
    current_version uuid CHECK (status <> 'ready' OR current_version IS NOT NULL),
    -- A sweep does not take the row before this time: the lease of another sweep, or a delay.
    sweep_after     timestamptz,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL
);

CREATE INDEX assets_owner_id_idx ON media.assets (owner, id DESC) WHERE status <> 'deleting';
CREATE INDEX assets_deleting_idx ON media.assets (sweep_after) WHERE status = 'deleting';

-- The verified content of an asset, in the bucket of its visibility. Never changes.
CREATE TABLE media.asset_versions (
    id              uuid PRIMARY KEY,
    asset_id        uuid NOT NULL REFERENCES media.assets (id) ON DELETE CASCADE,
    owner           text NOT NULL CHECK (owner <> ''),
    object_key      text NOT NULL CONSTRAINT asset_versions_object_key_key UNIQUE,
    content_type    text NOT NULL,
    size_bytes      bigint NOT NULL CHECK (size_bytes > 0),
    checksum_sha256 bytea CHECK (octet_length(checksum_sha256) = 32),
    created_at      timestamptz NOT NULL
);

CREATE INDEX asset_versions_asset_id_idx ON media.asset_versions (asset_id, id DESC);

ALTER TABLE media.assets ADD CONSTRAINT assets_current_version_fkey
    FOREIGN KEY (current_version) REFERENCES media.asset_versions (id);

-- The transfer of one file, which becomes a version of its asset: what was declared at presign. A row
-- is deleted once nothing can arrive any more, and what has arrived is deleted.
CREATE TABLE media.uploads (
    id               uuid PRIMARY KEY,
    asset_id         uuid NOT NULL REFERENCES media.assets (id) ON DELETE CASCADE,
    owner            text NOT NULL CHECK (owner <> ''),
    -- pending: presigned; accepted: it is the version now; rejected: the file did not match;
    -- abandoned: never completed.
    status           text NOT NULL CHECK (status IN ('pending', 'accepted', 'rejected', 'abandoned')),
    -- Of the version that it becomes. The upload itself goes to incoming/ID in the private bucket.
    version_id       uuid NOT NULL UNIQUE,
    -- How the keys of copies begin. One of them is that of the version.
    object_key       text NOT NULL UNIQUE,
    -- Where replicas may have copied verified files to: a key per file. Noted before the copy.
    copied_keys      text[] NOT NULL DEFAULT '{}' CHECK (cardinality(copied_keys) <= 16),
    content_type     text NOT NULL,
    size_bytes       bigint NOT NULL CHECK (size_bytes > 0),
    checksum_sha256  bytea CHECK (octet_length(checksum_sha256) = 32),
    -- Of the signed URL.
    expires_at       timestamptz NOT NULL,
    -- Until then a file may arrive, even after completion or deletion; later also the lease of a
    -- sweep.
    incoming_until   timestamptz NOT NULL,
    -- Until then a replica may copy a verified file.
    completing_until timestamptz,
    created_at       timestamptz NOT NULL
);

CREATE INDEX uploads_asset_id_idx ON media.uploads (asset_id, id DESC);
CREATE INDEX uploads_incoming_idx ON media.uploads (incoming_until);

CREATE FUNCTION media.is_system() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT coalesce(current_setting('quartet.system', true), '') = 'on' $$;

-- The principals of the transaction: who acts, and for whom. Null without: no row has an owner then.
CREATE FUNCTION media.principals() RETURNS text[]
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT nullif(current_setting('quartet.principals', true), '')::text[] $$;

ALTER TABLE media.assets ENABLE ROW LEVEL SECURITY;
ALTER TABLE media.assets FORCE ROW LEVEL SECURITY;
ALTER TABLE media.asset_versions ENABLE ROW LEVEL SECURITY;
ALTER TABLE media.asset_versions FORCE ROW LEVEL SECURITY;
ALTER TABLE media.uploads ENABLE ROW LEVEL SECURITY;
ALTER TABLE media.uploads FORCE ROW LEVEL SECURITY;

CREATE POLICY owners ON media.assets
    USING (owner = ANY ((SELECT media.principals())::text[]))
    WITH CHECK (owner = ANY ((SELECT media.principals())::text[]));
CREATE POLICY system ON media.assets
    USING ((SELECT media.is_system())) WITH CHECK ((SELECT media.is_system()));
CREATE POLICY owners ON media.asset_versions
    USING (owner = ANY ((SELECT media.principals())::text[]))
    WITH CHECK (owner = ANY ((SELECT media.principals())::text[]));
CREATE POLICY system ON media.asset_versions
    USING ((SELECT media.is_system())) WITH CHECK ((SELECT media.is_system()));
CREATE POLICY owners ON media.uploads
    USING (owner = ANY ((SELECT media.principals())::text[]))
    WITH CHECK (owner = ANY ((SELECT media.principals())::text[]));
CREATE POLICY system ON media.uploads
    USING ((SELECT media.is_system())) WITH CHECK ((SELECT media.is_system()));

-- A version never changes, and goes with its asset only.
REVOKE UPDATE, DELETE ON media.asset_versions FROM quartet_media;

-- Whether an upload is over: nothing arrives any more, and no replica copies the file.
CREATE FUNCTION media.is_over(
    incoming_until timestamptz, completing_until timestamptz, at timestamptz
) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT incoming_until <= at AND coalesce(completing_until <= at, true) $$;

-- Takes up to `row_limit` assets whose objects are to be deleted: deleted assets, and those without a
-- version whose upload is over. No other sweep takes them until `lease`.
CREATE FUNCTION media.take_assets(at timestamptz, lease timestamptz, row_limit integer)
    RETURNS TABLE (id uuid, visibility text, object_keys text[], uploads uuid[])
    LANGUAGE plpgsql VOLATILE
    AS $$
BEGIN
    PERFORM set_config('quartet.system', 'on', true);
    RETURN QUERY
    WITH due AS (
        (SELECT s.id FROM media.assets AS s
         WHERE s.status = 'deleting' AND s.sweep_after <= at
         ORDER BY s.sweep_after LIMIT row_limit)
        UNION
        (SELECT s.id FROM media.uploads AS u JOIN media.assets AS s ON s.id = u.asset_id
         WHERE u.incoming_until <= at AND media.is_over(u.incoming_until, u.completing_until, at)
           AND s.status IN ('pending', 'failed')
         ORDER BY u.incoming_until LIMIT row_limit)
    ), taken AS (
        SELECT s.id FROM media.assets AS s
        WHERE s.id IN (SELECT d.id FROM due AS d)
          AND (s.status IN ('pending', 'failed')
               OR (s.status = 'deleting' AND s.sweep_after <= at))
        LIMIT row_limit FOR UPDATE SKIP LOCKED
    )
    UPDATE media.assets AS a SET status = 'deleting', sweep_after = lease
    FROM taken AS t WHERE a.id = t.id
    RETURNING a.id, a.visibility,
        ARRAY(SELECT v.object_key FROM media.asset_versions AS v WHERE v.asset_id = a.id
              UNION SELECT unnest(u.copied_keys) FROM media.uploads AS u WHERE u.asset_id = a.id),
        ARRAY(SELECT u.id FROM media.uploads AS u WHERE u.asset_id = a.id);
    PERFORM set_config('quartet.system', 'off', true);
END
$$;

-- Called once the objects are deleted. Deletes the assets with their versions and uploads, or
-- postpones that while a file may arrive or a replica may copy one. Returns how many are deleted.
CREATE FUNCTION media.finish_assets(wanted uuid[], at timestamptz) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    gone bigint;
BEGIN
    PERFORM set_config('quartet.system', 'on', true);
    -- A replica that begins to copy locks the asset as well: the statements below see it.
    PERFORM FROM media.assets AS a WHERE a.id = ANY (wanted) ORDER BY a.id FOR UPDATE;
    DELETE FROM media.assets AS a
    WHERE a.id = ANY (wanted) AND a.status = 'deleting' AND NOT EXISTS (
        SELECT FROM media.uploads AS u
        WHERE u.asset_id = a.id AND NOT media.is_over(u.incoming_until, u.completing_until, at));
    GET DIAGNOSTICS gone = ROW_COUNT;
    UPDATE media.assets AS a SET sweep_after = (
        SELECT max(greatest(u.incoming_until, u.completing_until))
        FROM media.uploads AS u WHERE u.asset_id = a.id)
    WHERE a.id = ANY (wanted) AND a.status = 'deleting';
    PERFORM set_config('quartet.system', 'off', true);
    RETURN gone;
END
$$;

-- Takes up to `row_limit` uploads of ready assets that are over, in order to delete what has arrived
-- since, and copies that did not become a version.
CREATE FUNCTION media.take_uploads(at timestamptz, lease timestamptz, row_limit integer)
    RETURNS TABLE (id uuid, visibility text, object_keys text[])
    LANGUAGE plpgsql VOLATILE
    AS $$
BEGIN
    PERFORM set_config('quartet.system', 'on', true);
    RETURN QUERY
    WITH taken AS (
        SELECT u.id, s.visibility FROM media.uploads AS u JOIN media.assets AS s ON s.id = u.asset_id
        WHERE u.incoming_until <= at AND media.is_over(u.incoming_until, u.completing_until, at)
          AND s.status = 'ready'
        ORDER BY u.incoming_until LIMIT row_limit FOR UPDATE OF u SKIP LOCKED
    )
    UPDATE media.uploads AS u SET incoming_until = lease,
        status = CASE u.status WHEN 'pending' THEN 'abandoned' ELSE u.status END
    FROM taken AS t WHERE u.id = t.id
    RETURNING u.id, t.visibility,
        ARRAY(SELECT unnest(u.copied_keys)
              EXCEPT SELECT v.object_key FROM media.asset_versions AS v WHERE v.id = u.version_id);
    PERFORM set_config('quartet.system', 'off', true);
END
$$;

-- Called once the objects are deleted.
CREATE FUNCTION media.finish_uploads(wanted uuid[]) RETURNS void
    LANGUAGE plpgsql VOLATILE
    AS $$
BEGIN
    PERFORM set_config('quartet.system', 'on', true);
    DELETE FROM media.uploads AS u WHERE u.id = ANY (wanted) AND u.status <> 'pending';
    PERFORM set_config('quartet.system', 'off', true);
END
$$;

-- How many assets and uploads a sweep would take; counts no further than 100,000.
CREATE FUNCTION media.sweep_backlog(at timestamptz) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    due bigint;
BEGIN
    PERFORM set_config('quartet.system', 'on', true);
    SELECT count(*) INTO due FROM (
        SELECT FROM media.assets AS s WHERE s.status = 'deleting' AND s.sweep_after <= at
        UNION ALL
        SELECT FROM media.uploads AS u JOIN media.assets AS s ON s.id = u.asset_id
        WHERE u.incoming_until <= at AND media.is_over(u.incoming_until, u.completing_until, at)
          AND s.status <> 'deleting'
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
