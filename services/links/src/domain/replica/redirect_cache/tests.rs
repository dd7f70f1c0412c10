use quartet_telemetry::metrics::Metrics;
use sqlx::postgres::PgPoolOptions;

use super::*;
use crate::domain::values::domains::DEFAULT;

fn cache(bytes: u64) -> RedirectCache {
    let settings = config::Redirects {
        max_connections: 1,
        connection_wait_ms: 10,
        cache_bytes: bytes,
        cache_refresh_seconds: 45,
        cache_keep_seconds: 3600,
        unknown_entries: 10,
        unknown_ttl_seconds: 5,
        permanent_max_age_seconds: 0,
    };
    // No server listens there.
    let db = PgPoolOptions::new().connect_lazy("postgres://x@127.0.0.1:1/x");
    let metrics = LinksMetrics::register(&Metrics::new("test"));
    RedirectCache::new(&settings, db.unwrap(), Clock::system(), metrics)
}

fn url(slug: &str) -> ShortUrlRef<'_> {
    let domain = DEFAULT.into();
    ShortUrlRef { domain, slug }
}

fn route(target_bytes: usize) -> Arc<Route> {
    Arc::new(Route {
        link_id: LinkId::from(uuid::Uuid::nil()),
        target: vec![b'x'; target_bytes].into(),
        status: 302,
        enabled: true,
        expires_at: None,
        has_max_clicks: false,
    })
}

#[tokio::test]
async fn the_cache_is_bounded_in_bytes() {
    let cache = cache(1 << 20);
    let read = ReadMark {
        at: cache.0.clock.now().timestamp_millis(),
        gaps: 0,
        edits: 0,
    };
    for n in 0..2000 {
        let slug = format!("slug{n}");
        cache.0.keep(url(&slug), read, Some(&route(8000)));
    }
    cache.0.known.run_pending_tasks();
    assert!(cache.0.known.weighted_size() <= 1 << 20);
    assert!(cache.0.known.entry_count() <= (1 << 20) / 8000);
}

#[tokio::test]
async fn lookups_are_bounded_and_fail_soon() {
    let cache = cache(1 << 20);
    let loads: Vec<Load> = (0..2 * MAX_LOADS)
        .map(|n| cache.load(url(&format!("slug{n}"))))
        .collect();
    assert_eq!(cache.0.loads().running, MAX_LOADS);
    let started = std::time::Instant::now();
    for load in loads {
        assert!(load.await.is_err());
    }
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(cache.0.loads().by_url.is_empty());
    assert_eq!(cache.0.loads().running, 0);
}

#[tokio::test]
async fn no_request_joins_a_lookup_from_before_an_edit() {
    let cache = cache(1 << 20);
    let before = cache.load(url("slug"));
    let joined = cache.load(url("slug"));
    assert!(before.ptr_eq(&joined));
    cache.forget(url("slug"));
    let after = cache.load(url("slug"));
    assert!(!after.ptr_eq(&before));
    assert_eq!(cache.0.loads().running, 2, "both count");
    // The end of the first one leaves the second one its place.
    let place = || {
        let loads = cache.0.loads();
        loads
            .by_url
            .get(&url("slug").to_owned())
            .map(|(number, _)| *number)
    };
    drop(RunningLoad {
        inner: Arc::clone(&cache.0),
        url: url("slug").to_owned(),
        number: 1,
    });
    assert_eq!(place(), Some(2));
    cache.0.loads().running += 1;
    cache.forget_all();
    let last = cache.load(url("slug"));
    assert!(!last.ptr_eq(&after));
    assert!(before.await.is_err() && after.await.is_err() && last.await.is_err());
    assert_eq!((place(), cache.0.loads().running), (None, 0));
}
