//! How Postgres executes the statements of the service on tables that are filled.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection, Row};

use crate::support::{Cluster, Replica, eventually, string};

/// A table with fewer rows may be read whole.
const LARGE_ROWS: f32 = 10_000.0;
const OWNER: &str = "usr_1";

/// Links of 200 owners, each with totals and hours, and clicks of a week. A quarter of the clicks are
/// on one link.
async fn fill(admin: &mut PgConnection, links: u32, clicks: u32) {
    let fill = format!(
        "SET session_replication_role = replica;
        INSERT INTO links.links (id, owner, slug, url, title, expires_at, created_at, updated_at)
        SELECT md5('l' || n)::uuid, 'usr_' || n % 200, 'slug-' || n, 'https://example.com/' || n,
               CASE WHEN n % 3 = 0 THEN 'title ' || n % 1000 END,
               CASE WHEN n % 2 = 0 THEN timestamptz '2099-01-01' + n * interval '1 minute' END,
               timestamptz '2026-01-01' + n * interval '1 second',
               timestamptz '2026-02-01' + n::bigint * 7919 % 1000000 * interval '1 second'
        FROM generate_series(1, {links}) AS n;
        INSERT INTO links.click_totals (link_id, owner, batch, people, uniques, bots)
        SELECT l.id, l.owner, 10, hashtext(l.slug) & 1023, 1, 2 FROM links.links AS l;
        INSERT INTO links.click_hours (link_id, owner, hour, people, uniques, bots)
        SELECT l.id, l.owner, date_trunc('hour', now()), 1, 1, 0 FROM links.links AS l;
        INSERT INTO links.clicks (id, at, link_id, batch, device)
        SELECT md5('c' || n)::uuid, date_trunc('day', now()) + n % 7 * interval '1 day',
               md5('l' || CASE WHEN n % 4 = 0 THEN 1 ELSE n % {links} + 1 END)::uuid, n / 1000 + 1, 'other'
        FROM generate_series(1, {clicks}) AS n;
        SET session_replication_role = origin;
        ANALYZE;
        SELECT pg_stat_force_next_flush();"
    );
    sqlx::raw_sql(AssertSqlSafe(fill))
        .execute(admin)
        .await
        .unwrap();
}

/// The number of times that each large table was read whole.
async fn sequential_scans(admin: &mut PgConnection) -> BTreeMap<String, i64> {
    let query = "SELECT s.relname::text, s.seq_scan FROM pg_stat_user_tables AS s
        JOIN pg_class AS c ON c.oid = s.relid
        WHERE s.schemaname = 'links' AND c.reltuples > $1";
    let rows = sqlx::query(query)
        .bind(LARGE_ROWS)
        .fetch_all(admin)
        .await
        .unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Connections report what they did when they end.
async fn connections_end(admin: &mut PgConnection) {
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                AND application_name LIKE 'quartet-links%'";
    let ended = async || {
        let busy: i64 = sqlx::query_scalar(busy)
            .fetch_one(&mut *admin)
            .await
            .unwrap();
        (busy == 0).then_some(())
    };
    eventually(ended).await;
}

/// The number of entries that were read from indexes.
async fn index_reads(admin: &mut PgConnection) -> i64 {
    let query = "SELECT sum(idx_tup_read)::bigint FROM pg_stat_user_indexes
        WHERE schemaname = 'links'";
    sqlx::query_scalar(query).fetch_one(admin).await.unwrap()
}

/// Every statement that the compiler has checked, by the plan for unknown values.
async fn large_tables_in_plans(role: &mut PgConnection, large: &[String]) -> Vec<String> {
    let setup = "SET quartet.principals = '{usr_1}'; SET plan_cache_mode = force_generic_plan";
    sqlx::raw_sql(setup).execute(&mut *role).await.unwrap();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx");
    let mut found = Vec::new();
    let mut statements = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let checked: Value = serde_json::from_str(&text).unwrap();
        let query = checked["query"].as_str().unwrap();
        let parameters = checked["describe"]["parameters"]["Left"]
            .as_array()
            .map_or(0, Vec::len);
        let nulls = vec!["NULL"; parameters].join(", ");
        let arguments = if nulls.is_empty() {
            nulls
        } else {
            format!("({nulls})")
        };
        let prepare = format!("DEALLOCATE ALL; PREPARE checked AS {query}");
        sqlx::raw_sql(AssertSqlSafe(prepare))
            .execute(&mut *role)
            .await
            .unwrap();
        let explain = format!("EXPLAIN (COSTS OFF) EXECUTE checked {arguments}");
        let plan = sqlx::raw_sql(AssertSqlSafe(explain))
            .fetch_all(&mut *role)
            .await
            .unwrap();
        let lines = plan.iter().map(|row| row.get::<String, _>(0));
        let whole = lines.filter(|line| {
            let table = line
                .split("Seq Scan on ")
                .nth(1)
                .and_then(|rest| rest.split(' ').next());
            table.is_some_and(|table| large.iter().any(|it| it == table))
        });
        found.extend(whole.map(|line| format!("{line} in {query}")));
        statements += 1;
    }
    assert!(statements > 10, "the checked statements are found");
    found
}

const LIST: &str =
    "query($order: [LinkOrder!], $first: Int, $after: String, $last: Int, $before: String) {
    links(orderBy: $order, first: $first, after: $after, last: $last, before: $before) {
    edges { cursor node { id clicks { total } } } } }";
const ORDERS: [&str; 6] = [
    "CREATED_AT",
    "UPDATED_AT",
    "SLUG",
    "TITLE",
    "EXPIRES_AT",
    "TOTAL_CLICKS",
];

async fn lists(replica: &Replica) {
    for field in ORDERS {
        for direction in ["ASC", "DESC"] {
            for nulls in ["FIRST", "LAST"] {
                let order = json!({"field": field, "direction": direction, "nulls": nulls});
                let page = json!({"order": order, "first": 20});
                let page = replica.data(OWNER, LIST, page).await;
                let edges = page["links"]["edges"].as_array().unwrap();
                assert_eq!(edges.len(), 20, "{order}");
                let cursor = &edges[19]["cursor"];
                for page in [
                    json!({"order": order, "first": 20, "after": cursor}),
                    json!({"order": order, "last": 10, "before": cursor}),
                    json!({"order": order, "last": 10}),
                ] {
                    replica.data(OWNER, LIST, page).await;
                }
            }
        }
    }
    for filter in [
        json!({}),
        json!({"slug": {"_eq": "slug-1"}}),
        json!({"slug": {"_ilike": "%9%"}}),
        json!({"totalClicks": {"_gt": 5}}),
        json!({"_or": [{"title": {"_is_null": true}}, {"enabled": {"_eq": false}}]}),
    ] {
        let count =
            "query($w: LinkFilter) { links(where: $w, first: 20) { totalCount nodes { id } } }";
        replica.data(OWNER, count, json!({"w": filter})).await;
    }
}

/// Everything else that the service does for a link.
async fn links(replica: &Replica) {
    let slug = "{ linkBySlug(slug: \"slug-1\") { id clicks { total unique lastAt
        day: series(by: DAY) { at total } hour: series(by: HOUR) { at total } } } }";
    let id = replica.data(OWNER, slug, json!({})).await["linkBySlug"]["id"].take();
    let series = "{ links(first: 50) { nodes { clicks { series(by: DAY) { total } } } } }";
    replica.data(OWNER, series, json!({})).await;
    let one = "query($id: ID!) { link(id: $id) { slug clicks { total } } }";
    let before =
        replica.data(OWNER, one, json!({"id": id})).await["link"]["clicks"]["total"].take();
    let mut socket = replica.socket_of(OWNER).await;
    socket.subscribe_clicks("1", id.as_str().unwrap()).await;
    eventually(async || (replica.metric("links_subscriptions").await == 1).then_some(())).await;
    assert_eq!(replica.follow("slug-1").await.status(), 302);
    assert_eq!(replica.follow("no-such-slug").await.status(), 404);
    let event = socket.next_data("1").await;
    assert_eq!(
        event["clicks"]["totals"]["total"],
        before.as_i64().unwrap() + 1
    );
    let update = "mutation($id: ID!) { updateLink(id: $id, input: {slug: \"renamed-1\", maxClicks: 3}) { id } }";
    replica.data(OWNER, update, json!({"id": id})).await;
    assert_eq!(replica.follow("renamed-1").await.status(), 302);
    let create = "mutation { createLink(input: {url: \"https://example.com/\"}) { id } }";
    let created = replica.data(OWNER, create, json!({})).await;
    let created = string(&created["createLink"]["id"]);
    for id in [string(&id), created] {
        let delete = "mutation($id: ID!) { deleteLink(id: $id) { id } }";
        replica.data(OWNER, delete, json!({"id": id})).await;
    }
}

async fn no_statement_reads_a_large_table_whole(links_rows: u32, clicks_rows: u32) {
    let cluster = Cluster::new().await;
    // Creates the partitions.
    cluster.start().await.stop().await;
    let mut admin = cluster.database.connect_as_admin().await;
    fill(&mut admin, links_rows, clicks_rows).await;
    let before = sequential_scans(&mut admin).await;
    let large: Vec<String> = before.keys().cloned().collect();
    assert!(
        large.len() > 8,
        "totals, hours and a week of clicks: {large:?}"
    );
    let mut role = cluster.database.connect_as_role().await;
    assert_eq!(
        large_tables_in_plans(&mut role, &large).await,
        Vec::<String>::new()
    );
    drop(role);

    let replica = cluster
        .start_with(&[("QUARTET_GRAPHQL_COST_BURST", "10000000")])
        .await;
    lists(&replica).await;
    links(&replica).await;
    replica.stop().await;
    connections_end(&mut admin).await;
    assert_eq!(sequential_scans(&mut admin).await, before);
}

#[tokio::test]
async fn no_statement_reads_a_large_table_whole_at_50_000_links() {
    no_statement_reads_a_large_table_whole(50_000, 150_000).await;
}

#[tokio::test]
#[ignore = "fills a database for some minutes"]
async fn no_statement_reads_a_large_table_whole_at_a_million_links() {
    no_statement_reads_a_large_table_whole(1_000_000, 10_000_000).await;
}

/// An index alone does not help a page that is found by reading all entries before it.
#[tokio::test]
async fn a_page_far_into_a_list_reads_no_more_than_its_rows() {
    const LINKS: i64 = 5000;
    let cluster = Cluster::new().await;
    let mut admin = cluster.database.connect_as_admin().await;
    let fill = format!(
        "SET session_replication_role = replica;
        INSERT INTO links.links (id, owner, slug, url, title, expires_at, created_at, updated_at)
        SELECT md5('l' || n)::uuid, '{OWNER}', 'slug-' || n, 'https://example.com/' || n,
               CASE WHEN n % 3 = 0 THEN 'title ' || n % 1000 END,
               CASE WHEN n % 2 = 0 THEN timestamptz '2099-01-01' + n * interval '1 minute' END,
               timestamptz '2026-01-01' + n * interval '1 second', timestamptz '2026-02-01'
        FROM generate_series(1, {LINKS}) AS n;
        INSERT INTO links.click_totals (link_id, owner, batch, people, uniques, bots)
        SELECT l.id, l.owner, 10, hashtext(l.slug) & 1023, 1, 2 FROM links.links AS l;
        SET session_replication_role = origin;
        ANALYZE;"
    );
    sqlx::raw_sql(AssertSqlSafe(fill))
        .execute(&mut admin)
        .await
        .unwrap();
    let replica = cluster.start().await;
    let mut pages = Vec::new();
    for field in ORDERS {
        let order = json!({"field": field, "direction": "ASC", "nulls": "LAST"});
        let end = json!({"order": order, "last": 50});
        let end = replica.data(OWNER, LIST, end).await;
        let start = json!({"order": order, "first": 50});
        let start = replica.data(OWNER, LIST, start).await;
        let (far, near) = (
            &end["links"]["edges"][0]["cursor"],
            &start["links"]["edges"][49]["cursor"],
        );
        pages.push(json!({"order": order, "first": 20, "after": far}));
        pages.push(json!({"order": order, "last": 20, "before": near}));
    }
    replica.stop().await;
    connections_end(&mut admin).await;
    let replica = cluster.start().await;
    let before = index_reads(&mut admin).await;
    let count = i64::try_from(pages.len()).unwrap();
    for page in pages {
        let found = replica.data(OWNER, LIST, page).await;
        assert_eq!(found["links"]["edges"].as_array().unwrap().len(), 20);
    }
    replica.stop().await;
    connections_end(&mut admin).await;
    let read = index_reads(&mut admin).await - before;
    assert!(
        read < count * LINKS / 10,
        "{read} entries for {count} pages"
    );
}
