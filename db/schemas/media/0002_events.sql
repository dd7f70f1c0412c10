-- Events of other services: the tables of quartet-events, and what `user.deleted` causes.

-- Events that are applied, by what identifies them.
CREATE TABLE media.inbox (
    source     text        NOT NULL,
    id         text        NOT NULL,
    applied_at timestamptz NOT NULL,
    PRIMARY KEY (source, id)
);
CREATE INDEX inbox_applied_at_idx ON media.inbox (applied_at);

-- Events from a stream that could not be applied, and later ones of the same subject, which wait for
-- them. Those of requests wait in the outbox of their publisher.
CREATE TABLE media.inbox_retries (
    -- In the order of arrival.
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source   text        NOT NULL,
    id       text        NOT NULL,
    kind     text        NOT NULL,
    subject  text        NOT NULL,
    at       timestamptz NOT NULL,
    -- json: what jsonb refuses can be kept, too.
    event    json        NOT NULL,
    tries    integer     NOT NULL,
    retry_at timestamptz NOT NULL,
    reason   text        NOT NULL,
    -- Since then the event is a dead letter: it is tried no more, and nothing waits for it.
    dead_at  timestamptz,
    UNIQUE (source, id)
);
CREATE INDEX inbox_retries_subject_idx ON media.inbox_retries (source, subject, position)
    WHERE dead_at IS NULL;
CREATE INDEX inbox_retries_due_idx ON media.inbox_retries (retry_at, position) WHERE dead_at IS NULL;
CREATE INDEX inbox_retries_dead_idx ON media.inbox_retries (dead_at) WHERE dead_at IS NOT NULL;

-- Users whose account is deleted. Their row stays for longer than any access token lives: what they
-- still create meanwhile is erased, too.
CREATE TABLE media.erasures (
    owner        text PRIMARY KEY CHECK (owner <> ''),
    requested_at timestamptz NOT NULL,
    -- When something of theirs is looked for next; no other replica does so before.
    due_at       timestamptz NOT NULL
);
CREATE INDEX erasures_due_at_idx ON media.erasures (due_at);

-- Hides up to `row_limit` assets of a user, for the sweep to delete their objects and rows. Returns
-- how many.
CREATE FUNCTION media.erase_assets(erased text, at timestamptz, row_limit integer) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    hidden bigint;
BEGIN
    PERFORM set_config('quartet.system', 'on', true);
    UPDATE media.assets AS a SET status = 'deleting', updated_at = at, sweep_after = at
    WHERE a.id IN (
        SELECT s.id FROM media.assets AS s
        WHERE s.owner = erased AND s.status <> 'deleting'
        ORDER BY s.id LIMIT row_limit FOR UPDATE);
    GET DIAGNOSTICS hidden = ROW_COUNT;
    PERFORM set_config('quartet.system', 'off', true);
    RETURN hidden;
END
$$;
