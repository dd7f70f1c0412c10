-- Events of other services: the tables of quartet-events, and what `user.deleted` causes.

-- Events that are applied, by what identifies them.
CREATE TABLE links.inbox (
    source     text        NOT NULL,
    id         text        NOT NULL,
    applied_at timestamptz NOT NULL,
    PRIMARY KEY (source, id)
);
CREATE INDEX inbox_applied_at_idx ON links.inbox (applied_at);

-- Events from a stream that could not be applied, and later ones of the same subject, which wait for
-- them. Those of requests wait in the outbox of their publisher.
CREATE TABLE links.inbox_retries (
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
CREATE INDEX inbox_retries_subject_idx ON links.inbox_retries (source, subject, position)
    WHERE dead_at IS NULL;
CREATE INDEX inbox_retries_due_idx ON links.inbox_retries (retry_at, position) WHERE dead_at IS NULL;
CREATE INDEX inbox_retries_dead_idx ON links.inbox_retries (dead_at) WHERE dead_at IS NOT NULL;

-- Users whose account is deleted. Their row stays for longer than any access token lives: what they
-- still create meanwhile is erased, too.
CREATE TABLE links.erasures (
    owner        text PRIMARY KEY CHECK (owner <> ''),
    requested_at timestamptz NOT NULL,
    -- When something of theirs is looked for next; no other replica does so before.
    due_at       timestamptz NOT NULL
);
CREATE INDEX erasures_due_at_idx ON links.erasures (due_at);

CREATE INDEX freed_slugs_owner_idx ON links.freed_slugs (owner) WHERE owner <> '';

-- Deletes up to `row_limit` links of a user; their clicks are purged like those of any deleted link.
-- Then takes the user from as many freed slugs, which stay reserved, for no one. Returns how many rows
-- were changed.
CREATE FUNCTION links.erase_links(erased text, row_limit integer) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    deleted bigint;
    freed bigint := 0;
BEGIN
    PERFORM set_config('quartet.system', 'on', true);
    DELETE FROM links.links AS l WHERE l.id IN (
        SELECT k.id FROM links.links AS k WHERE k.owner = erased
        ORDER BY k.id LIMIT row_limit FOR UPDATE);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    IF deleted < row_limit THEN
        UPDATE links.freed_slugs AS f SET owner = '' WHERE (f.domain_id, f.slug) IN (
            SELECT k.domain_id, k.slug FROM links.freed_slugs AS k
            WHERE k.owner = erased AND k.owner <> '' LIMIT row_limit);
        GET DIAGNOSTICS freed = ROW_COUNT;
    END IF;
    PERFORM set_config('quartet.system', 'off', true);
    RETURN deleted + freed;
END
$$;
