-- The statement of quartet-media for one POST /v1/media/presign, that of store::uploads::insert. It
-- stands alone: no transaction around it. Ids are ascending, like those of media.
-- Defined by -D: start (milliseconds since 1970), step (0).
\set step :step + 1
\set id (:start * 1000 + :step) * 10 + :client_id
\set owner random(0, 15)
WITH acting AS MATERIALIZED (
    SELECT set_config('quartet.principals',
        ARRAY['usr_' || lpad(:owner::text, 26, '0')]::text[]::text, true)
), asset AS (
    INSERT INTO media.assets (id, owner, status, visibility, file_name, created_at, updated_at)
    SELECT lpad(:id::text, 32, '0')::uuid, 'usr_' || lpad(:owner::text, 26, '0'), 'pending',
        'private', 'photo.png', now(), now() FROM acting
)
INSERT INTO media.uploads (id, asset_id, owner, status, version_id, object_key,
    content_type, size_bytes, checksum_sha256, expires_at, incoming_until, created_at)
SELECT lpad(:id::text, 32, '1')::uuid, lpad(:id::text, 32, '0')::uuid,
    'usr_' || lpad(:owner::text, 26, '0'), 'pending', lpad(:id::text, 32, '2')::uuid,
    'uploads/' || lpad(:id::text, 32, '2')::uuid, 'image/png', 123456, NULL::bytea,
    now() + interval '15 minutes', now() + interval '75 minutes', now() FROM acting;
