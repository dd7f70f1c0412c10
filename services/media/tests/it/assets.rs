use serde_json::json;

use crate::support::{PNG, TestApp, id_of, json_of, png, problem_of};

#[tokio::test]
async fn pages_are_stable_while_assets_change() {
    let app = TestApp::start().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(id_of(&app.presign("usr_a", &png("private")).await["asset"]).to_owned());
    }
    ids.reverse();
    let first = json_of(app.get("/v1/media/assets?limit=2", "usr_a").await, 200).await;
    assert_eq!(first["has_more"], true);
    // A new asset and a deleted one do not shift the pages.
    app.presign("usr_a", &png("private")).await;
    let gone = app
        .delete(&format!("/v1/media/assets/{}", ids[0]), "usr_a")
        .await;
    assert_eq!(gone.status(), 204);
    let mut seen: Vec<String> = Vec::new();
    let mut page = first;
    loop {
        seen.extend(
            page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|a| id_of(a).to_owned()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        let path = format!("/v1/media/assets?limit=2&cursor={cursor}");
        page = json_of(app.get(&path, "usr_a").await, 200).await;
    }
    assert_eq!(seen, ids);
    assert_eq!(page["has_more"], false);
}

#[tokio::test]
async fn lists_are_filtered_and_invalid_parameters_are_named() {
    let app = TestApp::start().await;
    app.presign("usr_a", &png("private")).await;
    let ready = app.upload("usr_a", "public").await;
    for query in [
        "status=ready",
        "visibility=public",
        "status=ready&visibility=public&limit=1000",
    ] {
        let page = json_of(
            app.get(&format!("/v1/media/assets?{query}"), "usr_a").await,
            200,
        )
        .await;
        assert_eq!(page["data"], json!([ready]), "{query}");
    }
    for (query, parameter) in [
        ("status=deleting", "status"),
        ("visibility=x", "visibility"),
        ("limit=x", "limit"),
        ("cursor=x", "cursor"),
        ("sort=up", "sort"),
    ] {
        let response = app.get(&format!("/v1/media/assets?{query}"), "usr_a").await;
        let fields = problem_of(response, 400, "invalid_parameter").await;
        assert_eq!(fields[0].0, parameter, "{query}");
    }
    for id in ["x", "ast_1", "usr_01jd6x8rv3fq4t2m8n5k7c9e1z", "%00"] {
        let response = app.get(&format!("/v1/media/assets/{id}"), "usr_a").await;
        let fields = problem_of(response, 400, "invalid_parameter").await;
        assert_eq!(fields[0].0, "id", "{id}");
    }
}

#[tokio::test]
async fn public_assets_have_a_public_url_and_private_ones_a_signed_url() {
    let app = TestApp::start().await;
    let public = app.upload("usr_a", "public").await;
    let private = app.upload("usr_a", "private").await;
    let of = |asset: &serde_json::Value| format!("/v1/media/assets/{}/download", id_of(asset));
    let download = json_of(app.get(&of(&public), "usr_a").await, 200).await;
    assert_eq!(
        (&download["url"], &download["expires_at"]),
        (&public["url"], &json!(null))
    );
    assert_eq!(app.fetch(download["url"].as_str().unwrap()).await, 200);

    assert_eq!(private["url"], json!(null));
    let download = json_of(app.get(&of(&private), "usr_a").await, 200).await;
    assert!(download["expires_at"].is_string());
    let url = download["url"].as_str().unwrap();
    let response = reqwest::get(url).await.unwrap();
    let disposition = response.headers()["content-disposition"]
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(disposition, "attachment; filename*=UTF-8''pixel.png");
    assert_eq!(response.bytes().await.unwrap(), PNG);
    let unsigned = url.split('?').next().unwrap();
    assert_eq!(
        app.fetch(unsigned).await,
        403,
        "the private bucket is private"
    );

    let pending = app.presign("usr_a", &png("private")).await;
    let response = app.get(&of(&pending["asset"]), "usr_a").await;
    problem_of(response, 409, "asset_not_ready").await;
}

#[tokio::test]
async fn if_none_match_returns_304_for_an_unchanged_asset() {
    let app = TestApp::start().await;
    let presigned = app.presign("usr_a", &png("private")).await;
    let path = format!("/v1/media/assets/{}", id_of(&presigned["asset"]));
    let tag = app.get(&path, "usr_a").await.headers()["etag"]
        .to_str()
        .unwrap()
        .to_owned();
    let again = || async {
        let request = app.request(reqwest::Method::GET, &path, "usr_a");
        request
            .header("if-none-match", &tag)
            .send()
            .await
            .unwrap()
            .status()
    };
    assert_eq!(again().await, 304);
    app.clock.advance(chrono::Duration::seconds(1));
    app.put(&presigned, PNG, &[]).await;
    app.complete("usr_a", id_of(&presigned["asset"])).await;
    assert_eq!(again().await, 200, "ready is another version than pending");
}

#[tokio::test]
async fn deleting_an_asset_deletes_its_object() {
    let app = TestApp::start().await;
    let asset = app.upload("usr_a", "public").await;
    let path = format!("/v1/media/assets/{}", id_of(&asset));
    assert_eq!(app.delete(&path, "usr_a").await.status(), 204);
    problem_of(app.get(&path, "usr_a").await, 404, "not_found").await;
    problem_of(app.delete(&path, "usr_a").await, 404, "not_found").await;
    assert_eq!(app.fetch(asset["url"].as_str().unwrap()).await, 404);
}
