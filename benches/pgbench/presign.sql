-- The statements of quartet-media for one POST /v1/media/presign: the transaction of store::begin
-- and the row of store::assets::insert. Ids are ascending, like those of media.
-- Defined by -D: start (milliseconds since 1970), step (0).
\set step :step + 1
\set id (:start * 1000 + :step) * 10 + :client_id
\set owner random(0, 15)
BEGIN;
SELECT set_config('quartet.principals', '{usr_' || lpad(:owner::text, 26, '0') || '}', true);
INSERT INTO media.assets (id, owner, status, visibility, object_key, file_name,
    content_type, size_bytes, checksum_sha256, upload_expires_at, created_at, updated_at)
VALUES (lpad(:id::text, 32, '0')::uuid, 'usr_' || lpad(:owner::text, 26, '0'), 'pending', 'private',
    'uploads/' || lpad(:id::text, 32, '0')::uuid, 'photo.png',
    'image/png', 123456, NULL, now() + interval '15 minutes', now(), now());
COMMIT;
