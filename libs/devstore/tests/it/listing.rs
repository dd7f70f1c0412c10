use crate::support::{PRIVATE, Server, code};

async fn filled() -> Server {
    let server = Server::start().await;
    for key in ["a/1", "a/2", "a/3", "b", "c/1", "c/x/1", "d & <e>"] {
        server.put(PRIVATE, key, key.as_bytes()).await;
    }
    server
}

#[tokio::test]
async fn keys_are_listed_in_order_by_prefix() {
    let server = filled().await;
    let list = server.client().list_objects_v2().bucket(PRIVATE);
    let all = list.clone().send().await.unwrap();
    let keys: Vec<_> = all
        .contents()
        .iter()
        .filter_map(|object| object.key())
        .collect();
    assert_eq!(keys, ["a/1", "a/2", "a/3", "b", "c/1", "c/x/1", "d & <e>"]);
    assert_eq!(all.contents()[0].size(), Some(3));
    assert_eq!(all.key_count(), Some(7));
    let below = list
        .clone()
        .prefix("a/")
        .start_after("a/1")
        .send()
        .await
        .unwrap();
    let keys: Vec<_> = below
        .contents()
        .iter()
        .filter_map(|object| object.key())
        .collect();
    assert_eq!(keys, ["a/2", "a/3"]);
    let none = list.prefix("zzz").send().await.unwrap();
    assert_eq!(
        (none.contents().len(), none.is_truncated()),
        (0, Some(false))
    );
}

#[tokio::test]
async fn pages_list_every_key_once() {
    let server = filled().await;
    for (size, delimiter) in [(1, None), (2, None), (3, Some("/")), (1, Some("/"))] {
        let mut seen = Vec::new();
        let mut token = None;
        loop {
            let list = server
                .client()
                .list_objects_v2()
                .bucket(PRIVATE)
                .max_keys(size);
            let list = list.set_delimiter(delimiter.map(str::to_owned));
            let page = list.set_continuation_token(token).send().await.unwrap();
            assert!(page.key_count().unwrap() <= size);
            let prefixes = page
                .common_prefixes()
                .iter()
                .filter_map(|entry| entry.prefix());
            let keys = page.contents().iter().filter_map(|object| object.key());
            seen.extend(keys.chain(prefixes).map(str::to_owned));
            token = page.next_continuation_token().map(str::to_owned);
            assert_eq!(page.is_truncated(), Some(token.is_some()));
            if token.is_none() {
                break;
            }
        }
        seen.sort();
        let expected = match delimiter {
            None => vec!["a/1", "a/2", "a/3", "b", "c/1", "c/x/1", "d & <e>"],
            Some(_) => vec!["a/", "b", "c/", "d & <e>"],
        };
        assert_eq!(seen, expected, "{size} {delimiter:?}");
    }
}

#[tokio::test]
async fn a_delimiter_groups_common_prefixes() {
    let server = filled().await;
    let list = server
        .client()
        .list_objects_v2()
        .bucket(PRIVATE)
        .prefix("c/")
        .delimiter("/");
    let page = list.send().await.unwrap();
    let keys: Vec<_> = page
        .contents()
        .iter()
        .filter_map(|object| object.key())
        .collect();
    let folders: Vec<_> = page
        .common_prefixes()
        .iter()
        .filter_map(|e| e.prefix())
        .collect();
    assert_eq!((keys, folders), (vec!["c/1"], vec!["c/x/"]));
}

#[tokio::test]
async fn keys_are_encoded_on_request() {
    let server = filled().await;
    let list = server
        .client()
        .list_objects_v2()
        .bucket(PRIVATE)
        .prefix("d");
    let page = list
        .encoding_type(aws_sdk_s3::types::EncodingType::Url)
        .send()
        .await
        .unwrap();
    assert_eq!(page.contents()[0].key(), Some("d%20%26%20%3Ce%3E"));
}

#[tokio::test]
async fn invalid_page_parameters_are_refused() {
    let server = filled().await;
    let list = server.client().list_objects_v2().bucket(PRIVATE);
    assert_eq!(
        code(list.clone().continuation_token("%").send().await),
        "InvalidArgument"
    );
    assert_eq!(
        code(list.clone().max_keys(-1).send().await),
        "InvalidArgument"
    );
    let none = list.max_keys(0).send().await.unwrap();
    assert_eq!(
        (none.contents().len(), none.is_truncated()),
        (0, Some(false))
    );
}
