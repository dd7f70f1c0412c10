-- The functions of the redirect and the jobs. They see every row: each one sets
-- quartet.system at its start and resets it at its end. Those that delete clicks or create
-- partitions run as the owner of the schema: the role that calls them may do neither.

-- The link of a slug, as the redirect needs it.
CREATE FUNCTION links.find_redirect(
    wanted text, domain uuid DEFAULT '00000000-0000-0000-0000-000000000000'
)
    RETURNS TABLE (id uuid, url text, enabled boolean, redirect_status smallint,
                   expires_at timestamptz, max_clicks integer)
    LANGUAGE plpgsql VOLATILE
    AS $$
BEGIN
    PERFORM set_config('quartet.system', 'on', true);
    RETURN QUERY
    SELECT l.id, l.url, l.enabled, l.redirect_status, l.expires_at, l.max_clicks
    FROM links.links AS l WHERE l.domain_id = domain AND l.slug = wanted;
    PERFORM set_config('quartet.system', 'off', true);
END
$$;

-- Stores a batch of clicks with its rollups and notifies all replicas; returns the
-- number of clicks that were new. Clicks that are stored already, and clicks of deleted
-- links, change nothing.
--
-- Replicas of several releases call this. A new dimension of clicks therefore needs no new
-- parameter: it is a member of the object of its click in `dimensions`, an array in the order of
-- the others. What has no column of its own is stored as it is.
CREATE FUNCTION links.record_clicks(
    ids uuid[], ats timestamptz[], link_ids uuid[], visitors bytea[], countries text[],
    referrer_hosts text[], devices text[], bots text[], dimensions jsonb DEFAULT NULL
) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    fresh_count bigint;
    announcement json;
BEGIN
    PERFORM set_config('quartet.system', 'on', true);
    -- Locks in the order of the ids: first the links, so that none is deleted meanwhile,
    -- then their totals.
    PERFORM FROM links.links AS l WHERE l.id = ANY (link_ids) ORDER BY l.id FOR KEY SHARE;
    INSERT INTO links.click_totals AS t (link_id, owner, batch)
    SELECT l.id, l.owner, 1 FROM links.links AS l WHERE l.id = ANY (link_ids) ORDER BY l.id
    ON CONFLICT (link_id) DO UPDATE SET batch = t.batch + 1;

    WITH fresh AS (
        INSERT INTO links.clicks AS c
            (id, at, link_id, batch, visitor, country, referrer_host, device, bot, dimensions)
        SELECT i.id, i.at, i.link_id, t.batch, i.visitor, i.country, i.referrer_host, i.device, i.bot,
               nullif(dimensions -> (i.n - 1)::integer, 'null')
        FROM unnest(ids, ats, link_ids, visitors, countries, referrer_hosts, devices, bots)
            WITH ORDINALITY
            AS i (id, at, link_id, visitor, country, referrer_host, device, bot, n)
        JOIN links.click_totals AS t ON t.link_id = i.link_id
        ON CONFLICT DO NOTHING
        RETURNING c.link_id, c.at, date_trunc('hour', c.at, 'UTC') AS hour, c.visitor, c.bot
    ), newcomers AS (
        INSERT INTO links.visitors AS v (day, link_id, visitor, hour)
        SELECT DISTINCT ON (1, 2, 3) (f.at AT TIME ZONE 'UTC')::date, f.link_id, f.visitor, f.hour
        FROM fresh AS f WHERE f.visitor IS NOT NULL AND f.bot IS NULL
        ORDER BY 1, 2, 3, f.at
        ON CONFLICT DO NOTHING
        RETURNING v.link_id, v.hour
    ), tally AS (
        SELECT s.link_id, s.hour, sum(s.people)::bigint AS people, sum(s.uniques)::bigint AS uniques,
               sum(s.bots)::bigint AS bots, max(s.at) AS last_at
        FROM (
            SELECT f.link_id, f.hour, (f.bot IS NULL)::int AS people, 0 AS uniques,
                   (f.bot IS NOT NULL)::int AS bots, f.at FROM fresh AS f
            UNION ALL
            SELECT n.link_id, n.hour, 0, 1, 0, NULL FROM newcomers AS n
        ) AS s
        GROUP BY s.link_id, s.hour
    ), hours AS (
        INSERT INTO links.click_hours AS h (link_id, owner, hour, people, uniques, bots)
        SELECT y.link_id, t.owner, y.hour, y.people, y.uniques, y.bots
        FROM tally AS y JOIN links.click_totals AS t ON t.link_id = y.link_id
        ON CONFLICT (link_id, hour) DO UPDATE SET
            people = h.people + excluded.people, uniques = h.uniques + excluded.uniques,
            bots = h.bots + excluded.bots
    ), totals AS (
        UPDATE links.click_totals AS t SET
            people = t.people + s.people, uniques = t.uniques + s.uniques, bots = t.bots + s.bots,
            last_at = greatest(t.last_at, s.last_at)
        FROM (
            SELECT y.link_id, sum(y.people) AS people, sum(y.uniques) AS uniques,
                   sum(y.bots) AS bots, max(y.last_at) AS last_at
            FROM tally AS y GROUP BY y.link_id
        ) AS s
        WHERE t.link_id = s.link_id
    )
    SELECT count(*), json_build_object(
        'since', (extract(epoch FROM min(f.at)) * 1000)::bigint,
        -- A notification holds up to 8000 bytes. Null: any link.
        'links', CASE WHEN count(DISTINCT f.link_id) <= 150 THEN json_agg(DISTINCT f.link_id) END)
    INTO fresh_count, announcement FROM fresh AS f;

    -- One per batch, never one per click.
    IF fresh_count > 0 THEN
        PERFORM pg_notify('links_clicks', announcement::text);
    END IF;
    PERFORM set_config('quartet.system', 'off', true);
    RETURN fresh_count;
END
$$;

-- Takes one of a link's limited uses and stores its click, both or neither. Returns no row for a
-- link that does not exist, and otherwise what became of the use: taken, disabled, expired, or
-- exhausted. A click that is stored already has taken its use: a request that is repeated
-- with the same click is answered like the first one and takes nothing.
CREATE FUNCTION links.take_use(
    wanted uuid, now timestamptz, click_id uuid, click_at timestamptz, visitor bytea,
    country text, referrer_host text, device text, dimensions jsonb DEFAULT NULL
) RETURNS TABLE (outcome text, url text, redirect_status smallint)
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    link links.links;
BEGIN
    PERFORM set_config('quartet.system', 'on', true);
    -- The lock comes first: the statements after it see the click of the one before.
    SELECT * INTO link FROM links.links AS l WHERE l.id = wanted FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM set_config('quartet.system', 'off', true);
        RETURN;
    END IF;
    outcome := CASE WHEN NOT link.enabled THEN 'disabled'
        WHEN link.expires_at <= now THEN 'expired' ELSE 'taken' END;
    IF outcome = 'taken' AND NOT EXISTS (
        SELECT FROM links.clicks AS c
        WHERE c.id = click_id AND c.at = click_at AND c.link_id = wanted
    ) THEN
        IF link.uses >= link.max_clicks THEN
            PERFORM set_config('quartet.system', 'off', true);
            RETURN QUERY SELECT 'exhausted', link.url, link.redirect_status;
            RETURN;
        END IF;
        -- The maximum may have been removed after the caller has read the link.
        IF link.max_clicks IS NOT NULL THEN
            UPDATE links.links AS l SET uses = l.uses + 1 WHERE l.id = wanted;
        END IF;
        PERFORM links.record_clicks(ARRAY[click_id], ARRAY[click_at], ARRAY[wanted],
            ARRAY[visitor], ARRAY[country], ARRAY[referrer_host], ARRAY[device],
            ARRAY[NULL]::text[], jsonb_build_array(dimensions));
    END IF;
    PERFORM set_config('quartet.system', 'off', true);
    RETURN QUERY SELECT outcome, link.url, link.redirect_status;
END
$$;

-- The clicks of some links after the given batches, oldest batch first, with the
-- running totals. `since` only bounds the search.
CREATE FUNCTION links.clicks_after(
    wanted uuid[], batches bigint[], since timestamptz, row_limit integer
) RETURNS TABLE (id uuid, at timestamptz, link_id uuid, batch bigint, country text,
                 referrer_host text, device text, bot text, people bigint, uniques bigint,
                 bots bigint)
    LANGUAGE plpgsql VOLATILE
    AS $$
BEGIN
    PERFORM set_config('quartet.system', 'on', true);
    RETURN QUERY
    SELECT c.id, c.at, c.link_id, c.batch, c.country, c.referrer_host, c.device, c.bot,
           t.people, t.uniques, t.bots
    FROM unnest(wanted, batches) AS w (link_id, batch)
    JOIN links.click_totals AS t ON t.link_id = w.link_id AND t.batch > w.batch
    CROSS JOIN LATERAL (
        SELECT * FROM links.clicks AS k
        WHERE k.link_id = w.link_id AND k.at >= since AND k.batch > w.batch
        ORDER BY k.batch DESC, k.at DESC, k.id DESC LIMIT row_limit
    ) AS c
    ORDER BY c.link_id, c.batch, c.at, c.id;
    PERFORM set_config('quartet.system', 'off', true);
END
$$;

-- The salt of a day. The first caller's proposal becomes the salt.
CREATE FUNCTION links.salt_of(wanted date, proposed bytea) RETURNS bytea
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    found bytea;
BEGIN
    PERFORM set_config('quartet.system', 'on', true);
    INSERT INTO links.salts (day, salt) VALUES (wanted, proposed) ON CONFLICT DO NOTHING;
    SELECT s.salt INTO found FROM links.salts AS s WHERE s.day = wanted;
    PERFORM set_config('quartet.system', 'off', true);
    RETURN found;
END
$$;

-- Deletes the salts of days that began at or before `before`.
CREATE FUNCTION links.drop_salts(before timestamptz) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    gone bigint;
BEGIN
    PERFORM set_config('quartet.system', 'on', true);
    DELETE FROM links.salts AS s WHERE s.day::timestamp AT TIME ZONE 'UTC' <= before;
    GET DIAGNOSTICS gone = ROW_COUNT;
    PERFORM set_config('quartet.system', 'off', true);
    RETURN gone;
END
$$;

-- Creates the partition of a day. Rows of that day in the default partition move into it.
CREATE FUNCTION links.make_partition(parent text, wanted date) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    AS $$
DECLARE
    child text := parent || '_' || to_char(wanted, 'YYYYMMDD');
    key text := CASE parent WHEN 'clicks' THEN 'at' WHEN 'visitors' THEN 'day' END;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('links.partitions'));
    IF key IS NULL OR to_regclass(format('links.%I', child)) IS NOT NULL THEN
        RETURN false;
    END IF;
    PERFORM set_config('quartet.system', 'on', true);
    EXECUTE format('CREATE TABLE links.%I (LIKE links.%I INCLUDING ALL)', child, parent);
    EXECUTE format('LOCK TABLE links.%I IN ACCESS EXCLUSIVE MODE', parent || '_default');
    EXECUTE format(
        'WITH moved AS (DELETE FROM links.%I WHERE %I >= %L AND %I < %L RETURNING *) '
        'INSERT INTO links.%I SELECT * FROM moved',
        parent || '_default', key, wanted, key, wanted + 1, child);
    EXECUTE format('ALTER TABLE links.%I ATTACH PARTITION links.%I FOR VALUES FROM (%L) TO (%L)',
        parent, child, wanted, wanted + 1);
    -- Partitions are used through their parent only.
    EXECUTE format('REVOKE ALL ON links.%I FROM quartet_links', child);
    EXECUTE format('ALTER TABLE links.%I ENABLE ROW LEVEL SECURITY', child);
    EXECUTE format('ALTER TABLE links.%I FORCE ROW LEVEL SECURITY', child);
    PERFORM set_config('quartet.system', 'off', true);
    RETURN true;
END
$$;

-- Drops the partitions of the days before `before`; returns their number.
CREATE FUNCTION links.drop_partitions(parent text, before date) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    child text;
    dropped bigint := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('links.partitions'));
    FOR child IN
        SELECT c.relname FROM pg_inherits AS i
        JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = to_regclass(format('links.%I', parent))
          AND c.relname ~ ('^' || parent || '_[0-9]{8}$')
          AND to_date(right(c.relname, 8), 'YYYYMMDD') < before
    LOOP
        EXECUTE format('DROP TABLE links.%I', child);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$;

-- The deleted link to purge next, marked as tried at `now`; null when none is left but `skipped`.
CREATE FUNCTION links.next_purge(now timestamptz, skipped uuid[]) RETURNS uuid
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    chosen uuid;
BEGIN
    PERFORM set_config('quartet.system', 'on', true);
    UPDATE links.purges AS p SET tried_at = now
    WHERE p.link_id = (
        SELECT n.link_id FROM links.purges AS n WHERE n.link_id <> ALL (skipped)
        ORDER BY n.tried_at NULLS FIRST, n.link_id LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    RETURNING p.link_id INTO chosen;
    PERFORM set_config('quartet.system', 'off', true);
    RETURN chosen;
END
$$;

-- Deletes up to row_limit clicks and as many visitors of a deleted link; returns whether
-- nothing is left of it. `days` are those that may still have visitors.
CREATE FUNCTION links.purge_link(wanted uuid, days date[], row_limit integer) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    clicks bigint;
    visitors bigint := 0;
BEGIN
    PERFORM set_config('quartet.system', 'on', true);
    DELETE FROM links.clicks AS c USING (
        SELECT k.id, k.at FROM links.clicks AS k WHERE k.link_id = wanted LIMIT row_limit
    ) AS d WHERE c.id = d.id AND c.at = d.at;
    GET DIAGNOSTICS clicks = ROW_COUNT;
    IF clicks < row_limit THEN
        -- Each day is one range of the primary key.
        DELETE FROM links.visitors AS v USING (
            SELECT k.day, k.visitor FROM links.visitors AS k
            WHERE k.day = ANY (days) AND k.link_id = wanted LIMIT row_limit
        ) AS d WHERE v.day = d.day AND v.link_id = wanted AND v.visitor = d.visitor;
        GET DIAGNOSTICS visitors = ROW_COUNT;
        IF visitors < row_limit THEN
            DELETE FROM links.purges AS p WHERE p.link_id = wanted;
        END IF;
    END IF;
    PERFORM set_config('quartet.system', 'off', true);
    RETURN clicks < row_limit AND visitors < row_limit;
END
$$;

-- Deletes up to row_limit slugs whose reservation has expired; returns their number.
CREATE FUNCTION links.drop_freed_slugs(row_limit integer) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    gone bigint;
BEGIN
    PERFORM set_config('quartet.system', 'on', true);
    DELETE FROM links.freed_slugs AS f USING (
        SELECT k.domain_id, k.slug FROM links.freed_slugs AS k
        WHERE k.until <= clock_timestamp() LIMIT row_limit
    ) AS d WHERE f.domain_id = d.domain_id AND f.slug = d.slug;
    GET DIAGNOSTICS gone = ROW_COUNT;
    PERFORM set_config('quartet.system', 'off', true);
    RETURN gone;
END
$$;
