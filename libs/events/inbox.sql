-- Events that this service has applied, by what identifies them. Copied into a migration of the schema
-- of each consumer.
CREATE TABLE inbox (
    source     text        NOT NULL,
    id         text        NOT NULL,
    applied_at timestamptz NOT NULL,
    PRIMARY KEY (source, id)
);
CREATE INDEX inbox_applied_at_idx ON inbox (applied_at);
