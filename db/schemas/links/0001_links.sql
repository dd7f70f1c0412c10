-- Links and their clicks, protected by row-level security.
--
-- Every table forces row-level security, so that it also applies to the owning role.
-- A transaction sees the rows of its principals after set_config('quartet.principals', '{...}',
-- true), and none before. Paths that act for no one (the redirect and the jobs) go
-- through functions of this schema, which set quartet.system for the duration of the
-- call. Both settings end with the transaction at the latest, so that they are safe
-- behind a pooler in transaction mode. (A SET clause on the function would do the same,
-- but only a superuser may use one for a custom setting.)

-- The domains of short URLs. The default domain has no host: it is that of public.short_url, and
-- every host that is not in this table. Every replica keeps all of them in memory.
CREATE TABLE links.domains (
    id         uuid PRIMARY KEY,
    host       text COLLATE "C" UNIQUE CHECK (
        length(host) <= 253 AND host = lower(host) AND host ~ '^[a-z0-9_-]+(\.[a-z0-9_-]+)*$'),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT domains_default_check
        CHECK ((host IS NULL) = (id = '00000000-0000-0000-0000-000000000000'))
);

INSERT INTO links.domains (id) VALUES ('00000000-0000-0000-0000-000000000000');

CREATE TABLE links.links (
    id              uuid PRIMARY KEY,
    owner           text NOT NULL CHECK (owner <> ''),
    domain_id       uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000'
        REFERENCES links.domains (id),
    slug            text NOT NULL COLLATE "C",
    url             text NOT NULL,
    title           text,
    enabled         boolean NOT NULL DEFAULT true,
    redirect_status smallint NOT NULL DEFAULT 302 CHECK (redirect_status IN (301, 302, 307, 308)),
    expires_at      timestamptz,
    max_clicks      integer CHECK (max_clicks > 0),
    -- Uses of max_clicks. Counted only while there is a maximum.
    uses            integer NOT NULL DEFAULT 0,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    CONSTRAINT links_slug_key UNIQUE (domain_id, slug)
);

-- One index for each order that lists offer. A page begins where a comparison of rows finds
-- it in the index. Nulls are ordered by a flag in front of the value, because such a
-- comparison is null where one of its values is.
CREATE INDEX links_owner_created_at_idx ON links.links (owner, created_at, id);
CREATE INDEX links_owner_updated_at_idx ON links.links (owner, updated_at, id);
CREATE INDEX links_owner_slug_idx ON links.links (owner, slug, id);
CREATE INDEX links_owner_title_nulls_high_idx
    ON links.links (owner, (title IS NULL), (CASE WHEN title IS NULL THEN '' ELSE title END), id);
CREATE INDEX links_owner_title_nulls_low_idx
    ON links.links (owner, (title IS NOT NULL), (CASE WHEN title IS NULL THEN '' ELSE title END), id);
CREATE INDEX links_owner_expires_at_nulls_high_idx
    ON links.links (owner, (expires_at IS NULL), (CASE WHEN expires_at IS NULL THEN 'infinity' ELSE expires_at END), id);
CREATE INDEX links_owner_expires_at_nulls_low_idx
    ON links.links (owner, (expires_at IS NOT NULL), (CASE WHEN expires_at IS NULL THEN 'infinity' ELSE expires_at END), id);

-- Running totals, one row per link. The owner is that of the link, which never changes: with
-- it, row-level security and orders need no join. `batch` is the number of
-- batches with clicks of the link. The transaction of a batch increments it first, so
-- that the row lock orders the batches of a link by their commits: a reader that has
-- seen batch n misses nothing at or below n.
CREATE TABLE links.click_totals (
    link_id uuid PRIMARY KEY REFERENCES links.links (id) ON DELETE CASCADE,
    owner   text NOT NULL,
    batch   bigint NOT NULL,
    people  bigint NOT NULL DEFAULT 0,
    uniques bigint NOT NULL DEFAULT 0,
    bots    bigint NOT NULL DEFAULT 0,
    total   bigint NOT NULL GENERATED ALWAYS AS (people + bots) STORED,
    last_at timestamptz
);

CREATE INDEX click_totals_owner_total_idx ON links.click_totals (owner, total, link_id);

-- Hourly rollups, UTC. A visitor is unique in the hour of the first click of the day.
CREATE TABLE links.click_hours (
    link_id uuid NOT NULL REFERENCES links.links (id) ON DELETE CASCADE,
    owner   text NOT NULL,
    hour    timestamptz NOT NULL,
    people  bigint NOT NULL,
    uniques bigint NOT NULL,
    bots    bigint NOT NULL,
    PRIMARY KEY (link_id, hour)
);

-- Every click, one partition per UTC day. `at` is the time in the id (UUIDv7), so that
-- a click that is stored twice has the same key twice.
CREATE TABLE links.clicks (
    id            uuid NOT NULL,
    at            timestamptz NOT NULL,
    link_id       uuid NOT NULL,
    batch         bigint NOT NULL,
    visitor       bytea,
    country       text,
    referrer_host text,
    device        text NOT NULL,
    -- Why the visitor counts as a bot; null for people.
    bot           text,
    -- What has no column, by name. Null: nothing.
    dimensions    jsonb,
    PRIMARY KEY (id, at)
) PARTITION BY RANGE (at);

CREATE INDEX clicks_at_idx ON links.clicks USING brin (at);
-- Feeds read the clicks of a link from a batch on.
CREATE INDEX clicks_link_id_batch_idx ON links.clicks (link_id, batch);

-- The visitors of each day, as keyed hashes whose key is deleted after two days.
CREATE TABLE links.visitors (
    day     date NOT NULL,
    link_id uuid NOT NULL,
    visitor bytea NOT NULL,
    hour    timestamptz NOT NULL,
    PRIMARY KEY (day, link_id, visitor)
) PARTITION BY RANGE (day);

-- For days that have no partition yet.
CREATE TABLE links.clicks_default PARTITION OF links.clicks DEFAULT;
CREATE TABLE links.visitors_default PARTITION OF links.visitors DEFAULT;

-- The keys of the visitor hashes.
CREATE TABLE links.salts (
    day  date PRIMARY KEY,
    salt bytea NOT NULL CHECK (length(salt) = 16)
);

-- Deleted links whose clicks are not deleted yet. The least recently tried one is next, so
-- that a link whose clicks cannot be deleted does not keep the others waiting.
CREATE TABLE links.purges (
    link_id  uuid PRIMARY KEY,
    tried_at timestamptz
);

CREATE INDEX purges_tried_at_idx ON links.purges (tried_at NULLS FIRST, link_id);

-- Slugs that their link gave up. Until then only the former owner may use one again: it may
-- be printed somewhere, or cached as a permanent redirect.
CREATE TABLE links.freed_slugs (
    domain_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000'
        REFERENCES links.domains (id) ON DELETE CASCADE,
    slug      text NOT NULL COLLATE "C",
    owner     text NOT NULL,
    until     timestamptz NOT NULL,
    PRIMARY KEY (domain_id, slug)
);

CREATE INDEX freed_slugs_until_idx ON links.freed_slugs (until);

-- Row-level security.
CREATE FUNCTION links.is_system() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT coalesce(current_setting('quartet.system', true), '') = 'on' $$;

-- The principals of the transaction: who acts, and for whom. Null without: no row has an owner then.
CREATE FUNCTION links.principals() RETURNS text[]
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT nullif(current_setting('quartet.principals', true), '')::text[] $$;

ALTER TABLE links.domains ENABLE ROW LEVEL SECURITY;
ALTER TABLE links.domains FORCE ROW LEVEL SECURITY;
ALTER TABLE links.links ENABLE ROW LEVEL SECURITY;
ALTER TABLE links.links FORCE ROW LEVEL SECURITY;
ALTER TABLE links.click_totals ENABLE ROW LEVEL SECURITY;
ALTER TABLE links.click_totals FORCE ROW LEVEL SECURITY;
ALTER TABLE links.click_hours ENABLE ROW LEVEL SECURITY;
ALTER TABLE links.click_hours FORCE ROW LEVEL SECURITY;
ALTER TABLE links.clicks ENABLE ROW LEVEL SECURITY;
ALTER TABLE links.clicks FORCE ROW LEVEL SECURITY;
ALTER TABLE links.clicks_default ENABLE ROW LEVEL SECURITY;
ALTER TABLE links.clicks_default FORCE ROW LEVEL SECURITY;
ALTER TABLE links.visitors ENABLE ROW LEVEL SECURITY;
ALTER TABLE links.visitors FORCE ROW LEVEL SECURITY;
ALTER TABLE links.visitors_default ENABLE ROW LEVEL SECURITY;
ALTER TABLE links.visitors_default FORCE ROW LEVEL SECURITY;
ALTER TABLE links.salts ENABLE ROW LEVEL SECURITY;
ALTER TABLE links.salts FORCE ROW LEVEL SECURITY;
ALTER TABLE links.purges ENABLE ROW LEVEL SECURITY;
ALTER TABLE links.purges FORCE ROW LEVEL SECURITY;
ALTER TABLE links.freed_slugs ENABLE ROW LEVEL SECURITY;
ALTER TABLE links.freed_slugs FORCE ROW LEVEL SECURITY;

CREATE POLICY owners ON links.links
    USING (owner = ANY ((SELECT links.principals())::text[]))
    WITH CHECK (owner = ANY ((SELECT links.principals())::text[]));
CREATE POLICY system ON links.links
    USING ((SELECT links.is_system())) WITH CHECK ((SELECT links.is_system()));

-- Users read the counts of their links and never write them. They read clicks through a
-- function only.
CREATE POLICY owners ON links.click_totals FOR SELECT
    USING (owner = ANY ((SELECT links.principals())::text[]));
CREATE POLICY owners ON links.click_hours FOR SELECT
    USING (owner = ANY ((SELECT links.principals())::text[]));
CREATE POLICY system ON links.click_totals
    USING ((SELECT links.is_system())) WITH CHECK ((SELECT links.is_system()));
CREATE POLICY system ON links.click_hours
    USING ((SELECT links.is_system())) WITH CHECK ((SELECT links.is_system()));
CREATE POLICY system ON links.clicks
    USING ((SELECT links.is_system())) WITH CHECK ((SELECT links.is_system()));
CREATE POLICY system ON links.clicks_default
    USING ((SELECT links.is_system())) WITH CHECK ((SELECT links.is_system()));
CREATE POLICY system ON links.visitors
    USING ((SELECT links.is_system())) WITH CHECK ((SELECT links.is_system()));
CREATE POLICY system ON links.visitors_default
    USING ((SELECT links.is_system())) WITH CHECK ((SELECT links.is_system()));
CREATE POLICY system ON links.salts
    USING ((SELECT links.is_system())) WITH CHECK ((SELECT links.is_system()));
-- Only the triggers of links.links and the jobs touch these: a user who could insert a purge
-- could have the clicks of any link deleted.
CREATE POLICY system ON links.purges
    USING ((SELECT links.is_system())) WITH CHECK ((SELECT links.is_system()));
CREATE POLICY system ON links.freed_slugs
    USING ((SELECT links.is_system())) WITH CHECK ((SELECT links.is_system()));

-- Hosts are no secret: every short URL names one.
CREATE POLICY anyone ON links.domains FOR SELECT USING (true);
CREATE POLICY system ON links.domains
    USING ((SELECT links.is_system())) WITH CHECK ((SELECT links.is_system()));

-- Clicks are added and never changed. The role that serves can delete none: purges and retention
-- go through functions of the owner, and partitions are used through their parent only.
REVOKE UPDATE, DELETE ON links.clicks, links.visitors FROM quartet_links;
REVOKE ALL ON links.clicks_default, links.visitors_default FROM quartet_links;

-- Refuses a slug that is still reserved for another, former owner. An insert is skipped, as
-- ON CONFLICT DO NOTHING skips it for a slug that is in use; an update fails like one.
CREATE FUNCTION links.claim_slug() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    before text := coalesce(current_setting('quartet.system', true), '');
    refused boolean;
BEGIN
    PERFORM set_config('quartet.system', 'on', true);
    SELECT EXISTS (
        SELECT FROM links.freed_slugs AS f
        WHERE f.domain_id = NEW.domain_id AND f.slug = NEW.slug AND f.owner <> NEW.owner
          AND f.until > clock_timestamp()
    ) INTO refused;
    IF NOT refused THEN
        DELETE FROM links.freed_slugs AS f WHERE f.domain_id = NEW.domain_id AND f.slug = NEW.slug;
    END IF;
    PERFORM set_config('quartet.system', before, true);
    IF NOT refused THEN
        RETURN NEW;
    ELSIF TG_OP = 'INSERT' AND TG_WHEN = 'BEFORE' THEN
        RETURN NULL;
    END IF;
    RAISE unique_violation USING MESSAGE = 'the slug is reserved for its former owner', CONSTRAINT = 'links_slug_key',
        SCHEMA = 'links', TABLE = 'links';
END
$$;

CREATE TRIGGER claim_slug BEFORE INSERT ON links.links
    FOR EACH ROW EXECUTE FUNCTION links.claim_slug();
CREATE TRIGGER claim_changed_slug BEFORE UPDATE OF domain_id, slug ON links.links
    FOR EACH ROW WHEN ((OLD.domain_id, OLD.slug) IS DISTINCT FROM (NEW.domain_id, NEW.slug))
    EXECUTE FUNCTION links.claim_slug();

-- Again once the row is in the unique index: that may have waited for a transaction that
-- freed the slug, which the look before did not see. Its end is seen here, as each
-- statement of READ COMMITTED has its own snapshot.
CREATE TRIGGER claim_slug_again AFTER INSERT ON links.links
    FOR EACH ROW EXECUTE FUNCTION links.claim_slug();
CREATE TRIGGER claim_changed_slug_again AFTER UPDATE OF domain_id, slug ON links.links
    FOR EACH ROW WHEN ((OLD.domain_id, OLD.slug) IS DISTINCT FROM (NEW.domain_id, NEW.slug))
    EXECUTE FUNCTION links.claim_slug();

-- Remembers a slug that its link has released, and a deleted link whose clicks are to be deleted.
-- quartet.slug_rest_seconds is set by the transactions of the service; 90 days without it.
CREATE FUNCTION links.release_slug() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    before text := coalesce(current_setting('quartet.system', true), '');
    reserved_for interval := make_interval(secs => coalesce(
        nullif(current_setting('quartet.slug_rest_seconds', true), '')::double precision, 7776000));
BEGIN
    PERFORM set_config('quartet.system', 'on', true);
    IF reserved_for > interval '0' THEN
        INSERT INTO links.freed_slugs AS f (domain_id, slug, owner, until)
        VALUES (OLD.domain_id, OLD.slug, OLD.owner, clock_timestamp() + reserved_for)
        ON CONFLICT (domain_id, slug) DO UPDATE SET owner = excluded.owner, until = excluded.until;
    END IF;
    IF TG_OP = 'DELETE' THEN
        INSERT INTO links.purges (link_id) VALUES (OLD.id) ON CONFLICT DO NOTHING;
    END IF;
    PERFORM set_config('quartet.system', before, true);
    RETURN NULL;
END
$$;

CREATE TRIGGER release_slug AFTER DELETE ON links.links
    FOR EACH ROW EXECUTE FUNCTION links.release_slug();
CREATE TRIGGER release_changed_slug AFTER UPDATE OF domain_id, slug ON links.links
    FOR EACH ROW WHEN ((OLD.domain_id, OLD.slug) IS DISTINCT FROM (NEW.domain_id, NEW.slug))
    EXECUTE FUNCTION links.release_slug();

-- Replicas evict a link from their caches when any session changes it. NOTIFY takes a
-- database-wide lock at commit, so that there is one per 50 links of a statement, not one
-- per link, and none for a use: taking one is not a change. A notification holds up to 8000
-- bytes. `domains` and `slugs` go in pairs.
CREATE FUNCTION links.notify_edits(domains uuid[], slugs text[], deleted uuid[]) RETURNS void
    LANGUAGE sql
    AS $$
    SELECT pg_notify('links_edits', json_build_object(
        'domains', domains[part * 50 + 1 : part * 50 + 50],
        'slugs', slugs[part * 50 + 1 : part * 50 + 50],
        'deleted', deleted[part * 50 + 1 : part * 50 + 50])::text)
    FROM generate_series(0, (cardinality(slugs) - 1) / 50) AS part
    WHERE cardinality(slugs) > 0
$$;

CREATE FUNCTION links.notify_inserts() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM links.notify_edits(array_agg(n.domain_id), array_agg(n.slug), '{}')
    FROM new_links AS n HAVING count(*) > 0;
    RETURN NULL;
END
$$;

CREATE FUNCTION links.notify_updates() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM links.notify_edits(array_agg(e.domain_id), array_agg(e.slug), '{}')
    FROM (
        SELECT DISTINCT s.domain_id, s.slug
        FROM old_links AS o
        JOIN new_links AS n ON n.id = o.id
        CROSS JOIN LATERAL (VALUES (o.domain_id, o.slug), (n.domain_id, n.slug))
            AS s (domain_id, slug)
        WHERE (o.domain_id, o.slug, o.url, o.enabled, o.redirect_status, o.expires_at, o.max_clicks)
            IS DISTINCT FROM
            (n.domain_id, n.slug, n.url, n.enabled, n.redirect_status, n.expires_at, n.max_clicks)
    ) AS e
    HAVING count(*) > 0;
    RETURN NULL;
END
$$;

CREATE FUNCTION links.notify_deletes() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM links.notify_edits(array_agg(o.domain_id), array_agg(o.slug), array_agg(o.id))
    FROM old_links AS o HAVING count(*) > 0;
    RETURN NULL;
END
$$;

CREATE TRIGGER notify_inserts AFTER INSERT ON links.links
    REFERENCING NEW TABLE AS new_links
    FOR EACH STATEMENT EXECUTE FUNCTION links.notify_inserts();
CREATE TRIGGER notify_updates AFTER UPDATE ON links.links
    REFERENCING OLD TABLE AS old_links NEW TABLE AS new_links
    FOR EACH STATEMENT EXECUTE FUNCTION links.notify_updates();
CREATE TRIGGER notify_deletes AFTER DELETE ON links.links
    REFERENCING OLD TABLE AS old_links
    FOR EACH STATEMENT EXECUTE FUNCTION links.notify_deletes();

-- Replicas read all domains again when one has changed, and keep all of them in memory.
CREATE FUNCTION links.notify_domains() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF (SELECT count(*) FROM links.domains) > 10000 THEN
        RAISE program_limit_exceeded USING MESSAGE = 'there are 10000 domains already';
    END IF;
    PERFORM pg_notify('links_domains', '');
    RETURN NULL;
END
$$;

CREATE TRIGGER notify_domains AFTER INSERT OR UPDATE OR DELETE ON links.domains
    FOR EACH STATEMENT EXECUTE FUNCTION links.notify_domains();

-- Every link has its totals from the start, so that lists can be ordered by them.
CREATE FUNCTION links.begin_totals() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    before text := coalesce(current_setting('quartet.system', true), '');
BEGIN
    PERFORM set_config('quartet.system', 'on', true);
    INSERT INTO links.click_totals (link_id, owner, batch)
    SELECT i.id, i.owner, 0 FROM inserted AS i;
    PERFORM set_config('quartet.system', before, true);
    RETURN NULL;
END
$$;

CREATE TRIGGER begin_totals AFTER INSERT ON links.links
    REFERENCING NEW TABLE AS inserted
    FOR EACH STATEMENT EXECUTE FUNCTION links.begin_totals();
