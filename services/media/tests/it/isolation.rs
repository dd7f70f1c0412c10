use reqwest::Method;
use serde_json::json;

use crate::support::{World, id_of, json_of, png, problem_of};

#[tokio::test]
async fn another_users_assets_do_not_exist() {
    let world = World::start().await;
    let asset = world.upload("usr_a", "private").await;
    let path = format!("/v1/media/assets/{}", id_of(&asset));
    let attempts = [
        (Method::GET, path.clone()),
        (Method::DELETE, path.clone()),
        (Method::GET, format!("{path}/download")),
        (Method::POST, format!("{path}/complete")),
    ];
    for (method, path) in attempts {
        let response = world.request(method, &path, "usr_b").send().await.unwrap();
        problem_of(response, 404, "not_found").await;
    }
    let list = json_of(world.get("/v1/media/assets", "usr_b").await, 200).await;
    assert_eq!(list["data"], json!([]));
    assert_eq!(json_of(world.get(&path, "usr_a").await, 200).await, asset);
}

#[tokio::test]
async fn without_a_good_token_nothing_answers() {
    let world = World::start().await;
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
        let url = format!("http://{}{path}", world.address);
        for header in [None, Some("Basic YTpi"), Some("Bearer x.y.z")] {
            let mut request = http
                .request(method.clone(), &url)
                // Nobody believes an identity header.
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

/// The second guard: what the service's own role sees without the application's predicates.
#[tokio::test]
async fn the_database_itself_shows_no_rows_of_others() {
    let world = World::start().await;
    world.presign("usr_a", &png("private")).await;
    let pool = world.role_pool().await;
    let count = "SELECT count(*) FROM media.assets";
    let unset: i64 = sqlx::query_scalar(count).fetch_one(&pool).await.unwrap();
    assert_eq!(unset, 0, "nothing is seen without a subject");
    for (subject, expected) in [("usr_b", 0_i64), ("", 0), ("usr_a", 1)] {
        let mut tx = pool.begin().await.unwrap();
        sqlx::query("SELECT set_config('quartet.user_id', $1, true)")
            .bind(subject)
            .execute(&mut *tx)
            .await
            .unwrap();
        let seen: i64 = sqlx::query_scalar(count).fetch_one(&mut *tx).await.unwrap();
        assert_eq!(seen, expected, "{subject}");
        let stolen = sqlx::query("UPDATE media.assets SET owner = 'usr_c'")
            .execute(&mut *tx)
            .await;
        assert!(stolen.is_err() || seen == 0, "rows cannot be given away");
    }
}
