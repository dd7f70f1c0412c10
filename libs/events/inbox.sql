-- Events that this service has applied, by what identifies them. Copied into a migration of the schema
-- of each consumer.
CREATE TABLE inbox (
    source     text        NOT NULL,
    id         text        NOT NULL,
    applied_at timestamptz NOT NULL,
    PRIMARY KEY (source, id)
);
CREATE INDEX inbox_applied_at_idx ON inbox (applied_at);

-- Events from a stream that could not be applied, and later ones of the same subject, which wait for
-- them. Those of requests wait in the outbox of their publisher.
CREATE TABLE inbox_retries (
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
CREATE INDEX inbox_retries_subject_idx ON inbox_retries (source, subject, position)
    WHERE dead_at IS NULL;
CREATE INDEX inbox_retries_due_idx ON inbox_retries (retry_at, position) WHERE dead_at IS NULL;
CREATE INDEX inbox_retries_dead_idx ON inbox_retries (dead_at) WHERE dead_at IS NOT NULL;
