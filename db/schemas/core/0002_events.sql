-- Events for other services: the tables of quartet-events.

CREATE TABLE core.outbox (
    -- In the order of the inserts, with gaps: transactions commit in any order, or not at all.
    written     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- In the order of delivery, given after the commit; null until then.
    position    bigint UNIQUE,
    id          uuid        NOT NULL UNIQUE,
    kind        text        NOT NULL,
    subject     text        NOT NULL,
    at          timestamptz NOT NULL,
    data        jsonb       NOT NULL,
    traceparent text
);
CREATE INDEX outbox_unnumbered_idx ON core.outbox (written) WHERE position IS NULL;

-- The last position given. The lock of its only row makes numbering one after the other.
CREATE TABLE core.outbox_head (
    single   boolean PRIMARY KEY DEFAULT true CHECK (single),
    position bigint  NOT NULL
);
INSERT INTO core.outbox_head (position) VALUES (0);

-- How far each consumer is: every event up to `position` is delivered or has a row in outbox_retries.
CREATE TABLE core.outbox_cursors (
    consumer     text PRIMARY KEY,
    position     bigint NOT NULL DEFAULT 0,
    -- The replica that delivers, and until when no other one does.
    lease        uuid,
    leased_until timestamptz
);

-- Events that a consumer could not apply, and later ones of the same subject, which wait for them.
CREATE TABLE core.outbox_retries (
    consumer text        NOT NULL,
    position bigint      NOT NULL REFERENCES core.outbox (position),
    subject  text        NOT NULL,
    tries    integer     NOT NULL,
    retry_at timestamptz NOT NULL,
    reason   text        NOT NULL,
    -- Since then the event is a dead letter: it is tried no more, and nothing waits for it.
    dead_at  timestamptz,
    PRIMARY KEY (consumer, position)
);
CREATE INDEX outbox_retries_subject_idx ON core.outbox_retries (consumer, subject, position)
    WHERE dead_at IS NULL;
CREATE INDEX outbox_retries_due_idx ON core.outbox_retries (consumer, retry_at) WHERE dead_at IS NULL;
CREATE INDEX outbox_retries_dead_idx ON core.outbox_retries (consumer, dead_at) WHERE dead_at IS NOT NULL;
CREATE INDEX outbox_retries_position_idx ON core.outbox_retries (position);
