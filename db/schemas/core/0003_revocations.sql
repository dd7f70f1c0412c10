-- Revoked sessions, for those who accept access tokens without asking core. A row is kept for as long
-- as a token of its session may be valid.
--
-- The number of its transaction orders the rows: what a reader has not seen yet is what transactions
-- have written that had not ended when it last read, however they overlap.
CREATE TABLE core.revocations (
    session_id  uuid PRIMARY KEY,
    revoked_at  timestamptz NOT NULL,
    transaction xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX revocations_transaction_idx ON core.revocations (transaction, session_id);
CREATE INDEX revocations_revoked_at_idx ON core.revocations (revoked_at);

-- A trigger, so that no statement that revokes sessions can forget it, not even one of the release
-- before this table.
CREATE FUNCTION core.note_revocation() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO core.revocations (session_id, revoked_at) VALUES (NEW.id, NEW.revoked_at)
    ON CONFLICT (session_id) DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER note_revocation AFTER UPDATE OF revoked_at ON core.sessions
    FOR EACH ROW WHEN (OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL)
    EXECUTE FUNCTION core.note_revocation();
