use reqwest::Method;
use serde_json::json;

use crate::support::{TestApp, id_of, json_of, png, problem_of};

#[tokio::test]
async fn assets_of_other_users_are_not_found() {
    let app = TestApp::start().await;
    let asset = app.upload("usr_a", "private").await;
    let path = format!("/v1/media/assets/{}", id_of(&asset));
    let attempts = [
        (Method::GET, path.clone()),
        (Method::DELETE, path.clone()),
        (Method::GET, format!("{path}/download")),
        (Method::POST, format!("{path}/complete")),
    ];
    for (method, path) in attempts {
        let response = app.request(method, &path, "usr_b").send().await.unwrap();
        problem_of(response, 404, "not_found").await;
    }
    let list = json_of(app.get("/v1/media/assets", "usr_b").await, 200).await;
    assert_eq!(list["data"], json!([]));
    assert_eq!(json_of(app.get(&path, "usr_a").await, 200).await, asset);
}

#[tokio::test]
async fn every_operation_requires_a_valid_token() {
    let app = TestApp::start().await;
    let id = "ast_01jd6x8rv3fq4t2m8n5k7c9e1z";
    let operations = [
        (Method::POST, "/v1/media/presign".to_owned()),
        (Method::GET, "/v1/media/assets".to_owned()),
        (Method::GET, format!("/v1/media/assets/{id}")),
        (Method::DELETE, format!("/v1/media/assets/{id}")),
        (Method::GET, format!("/v1/media/assets/{id}/download")),
        (Method::POST, format!("/v1/media/assets/{id}/complete")),
    ];
    let http = reqwest::Client::new();
    for (method, path) in operations {
        let url = format!("http://{}{path}", app.address);
        for header in [None, Some("Basic YTpi"), Some("Bearer x.y.z")] {
            let mut request = http
                .request(method.clone(), &url)
                // Identity headers are not trusted.
                .header("x-user-id", "usr_a")
                .json(&png("private"));
            if let Some(value) = header {
                request = request.header("authorization", value);
            }
            let response = request.send().await.unwrap();
            assert!(
                response.headers().contains_key("www-authenticate"),
                "{path}"
            );
            problem_of(response, 401, "unauthenticated").await;
        }
    }
}

#[tokio::test]
async fn a_token_permits_what_its_scopes_name() {
    let app = TestApp::start().await;
    let http = reqwest::Client::new();
    let send = async |scope: Option<&str>, method: Method, path: &str| {
        let token = app.issuer.token_with("usr_a", json!({"scope": scope}));
        let request = http.request(method, format!("http://{}{path}", app.address));
        let request = request.bearer_auth(token).json(&png("private"));
        request.send().await.unwrap()
    };
    let (list, presign) = ("/v1/media/assets", "/v1/media/presign");
    for scope in [None, Some("openid email"), Some("media:read media:write")] {
        assert_eq!(
            send(scope, Method::GET, list).await.status(),
            200,
            "{scope:?}"
        );
        assert_eq!(
            send(scope, Method::POST, presign).await.status(),
            201,
            "{scope:?}"
        );
    }
    assert_eq!(
        send(Some("media:read"), Method::GET, list).await.status(),
        200
    );
    for (scope, method, path) in [
        ("media:read", Method::POST, presign),
        ("media:write", Method::GET, list),
        ("links:write", Method::POST, presign),
    ] {
        let response = send(Some(scope), method, path).await;
        let challenge = response.headers()["www-authenticate"].to_str().unwrap();
        assert!(challenge.contains("insufficient_scope"), "{challenge}");
        problem_of(response, 403, "forbidden").await;
    }
}

/// Row-level security: what the service's role sees without the predicates of its queries.
#[tokio::test]
async fn row_level_security_hides_rows_of_other_users() {
    let app = TestApp::start().await;
    app.upload("usr_a", "private").await;
    for table in ["assets", "asset_versions", "uploads"] {
        row_level_security_hides(&app, table).await;
    }
}

async fn row_level_security_hides(app: &TestApp, table: &str) {
    let pool = app.role_pool().await;
    let count = || sqlx::AssertSqlSafe(format!("SELECT count(*) FROM media.{table}"));
    let unset: i64 = sqlx::query_scalar(count()).fetch_one(&pool).await.unwrap();
    assert_eq!(unset, 0, "no rows without principals");
    for (principals, expected) in [
        ("{usr_b}", 0_i64),
        ("", 0),
        ("{}", 0),
        ("{NULL}", 0),
        ("{usr_a}", 1),
        ("{usr_b,usr_a}", 1),
    ] {
        let mut tx = quartet_db::begin(&pool).await.unwrap();
        sqlx::query("SELECT set_config('quartet.principals', $1, true)")
            .bind(principals)
            .execute(&mut *tx)
            .await
            .unwrap();
        let seen: i64 = sqlx::query_scalar(count())
            .fetch_one(&mut *tx)
            .await
            .unwrap();
        assert_eq!(seen, expected, "{table} for {principals}");
        let give_away = format!("UPDATE media.{table} SET owner = 'usr_c'");
        let given_away = sqlx::query(sqlx::AssertSqlSafe(give_away))
            .execute(&mut *tx)
            .await;
        assert!(
            given_away.is_err() || seen == 0,
            "rows cannot be given away"
        );
    }
}

/// Not even with arbitrary SQL.
#[tokio::test]
async fn the_role_of_the_service_can_neither_change_nor_delete_versions() {
    let app = TestApp::start().await;
    let ready = app.upload("usr_a", "public").await;
    let mut role = app.database.connect_as_role().await;
    let acting = "SET quartet.system = 'on'; SET quartet.principals = '{usr_a}'";
    sqlx::raw_sql(acting).execute(&mut role).await.unwrap();
    for statement in [
        "UPDATE media.asset_versions SET object_key = 'uploads/other'",
        "DELETE FROM media.asset_versions",
        "TRUNCATE media.asset_versions",
        "ALTER TABLE media.asset_versions DISABLE ROW LEVEL SECURITY",
        "DROP TABLE media.asset_versions",
    ] {
        let error = sqlx::raw_sql(statement).execute(&mut role).await;
        let error = error.unwrap_err();
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code);
        assert_eq!(code.as_deref(), Some("42501"), "{statement}: {error}");
    }
    assert_eq!(app.fetch(ready["url"].as_str().unwrap()).await, 200);
}

/// A presign is one statement, which sets the principals and inserts.
#[tokio::test]
async fn row_level_security_holds_within_the_statement_that_sets_principals() {
    let app = TestApp::start().await;
    let pool = app.role_pool().await;
    for (principals, allowed) in [
        (&["usr_a"][..], true),
        (&["usr_b", "usr_a"], true),
        (&["usr_b"], false),
        (&[], false),
    ] {
        let insert = sqlx::query(
            "WITH acting AS MATERIALIZED (
                 SELECT set_config('quartet.principals', $1::text[]::text, true)
             )
             INSERT INTO media.assets
                 (id, owner, status, visibility, file_name, created_at, updated_at)
             SELECT gen_random_uuid(), 'usr_a', 'pending', 'private', 'a', now(), now()
             FROM acting",
        );
        // The same connection each time: nothing of the statement before is left.
        let inserted = insert.bind(principals).execute(&pool).await;
        assert_eq!(inserted.is_ok(), allowed, "{principals:?}");
        let left = "SELECT coalesce(current_setting('quartet.principals', true), '')";
        let left: String = sqlx::query_scalar(left).fetch_one(&pool).await.unwrap();
        assert_eq!(left, "");
    }
}

#[tokio::test]
async fn uploads_work_behind_a_pooler_in_transaction_mode() {
    let app = TestApp::start_pooled().await;
    for subject in ["usr_a", "usr_b"] {
        let asset = app.upload(subject, "private").await;
        let url = format!("/v1/media/assets/{}", id_of(&asset));
        for (other, status) in [("usr_a", 200), ("usr_b", 200), ("usr_c", 404)] {
            let expected = if other == subject { status } else { 404 };
            assert_eq!(app.get(&url, other).await.status(), expected, "{other}");
        }
        assert_eq!(app.delete(&url, subject).await.status(), 204);
    }
}
