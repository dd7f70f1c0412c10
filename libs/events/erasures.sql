-- Users whose account is deleted. Their row stays for longer than any access token lives: what they
-- still create meanwhile is erased, too. Copied into a migration of each schema whose rows belong to
-- users.
CREATE TABLE erasures (
    owner        text PRIMARY KEY CHECK (owner <> ''),
    requested_at timestamptz NOT NULL,
    -- When something of theirs is looked for next; no other replica does so before.
    due_at       timestamptz NOT NULL
);
CREATE INDEX erasures_due_at_idx ON erasures (due_at);
