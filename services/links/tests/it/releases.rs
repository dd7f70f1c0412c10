//! Replicas of several releases with one database and one volume.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Cluster, eventually};

/// The record of a click of a person on a desktop, as postcard writes it.
fn record(format: u8, click: Uuid, link: Uuid, rest: &[u8]) -> Vec<u8> {
    let mut record = vec![format];
    for id in [click, link] {
        record.push(16);
        record.extend_from_slice(id.as_bytes());
    }
    // No visitor, no country, no referrer.
    record.extend([0, 0, 0, 7]);
    record.extend_from_slice(b"desktop\0");
    record.extend_from_slice(rest);
    record
}

/// Leaves a log behind, as a killed replica does.
fn abandon(cluster: &Cluster, name: &str, records: &[Vec<u8>]) -> PathBuf {
    let directory = cluster.volume.path().join("clicks").join(name);
    fs::create_dir_all(&directory).unwrap();
    let mut log = b"QLCLICK1".to_vec();
    for record in records {
        let length = u32::try_from(record.len()).unwrap().to_le_bytes();
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&length);
        checksum.update(record);
        log.extend_from_slice(&length);
        log.extend_from_slice(&checksum.finalize().to_le_bytes());
        log.extend_from_slice(record);
    }
    fs::write(directory.join("0000000001.wal"), log).unwrap();
    fs::write(directory.join("lock"), []).unwrap();
    directory
}

fn uuid_of(id: &str) -> Uuid {
    let id = quartet_common::ids::decode(id.strip_prefix("lnk_").unwrap());
    id.unwrap()
}

#[tokio::test]
async fn logs_of_other_releases_are_stored_or_kept() {
    let cluster = Cluster::new().await;
    let replica = cluster.start().await;
    let (id, _) = replica.link().await;
    let link = uuid_of(&id);
    let click = || cluster.clock.uuid_v7();
    let later = abandon(
        &cluster,
        "of-a-later-format",
        &[record(2, click(), link, b"\0new")],
    );
    let earlier = abandon(
        &cluster,
        "of-the-first-format",
        &[record(0, click(), link, b"")],
    );
    // Dimensions that this release does not know.
    let dimensions = b"\x02\x02os\x03ios\x06region\x02BY";
    let records = [
        record(1, click(), link, dimensions),
        record(0, click(), link, b""),
    ];
    let newer = abandon(&cluster, "with-dimensions", &records);
    eventually(async || (!earlier.exists() && !newer.exists()).then_some(())).await;
    replica.expect_counts(&id, [3, 3, 0, 0]).await;
    assert!(
        later.join("0000000001.wal").exists(),
        "kept for a replica that can read it"
    );
    let mut admin = cluster.database.connect_as_admin().await;
    let stored = "SELECT dimensions FROM links.clicks ORDER BY dimensions NULLS LAST";
    let stored: Vec<Option<Value>> = sqlx::query_scalar(stored)
        .fetch_all(&mut admin)
        .await
        .unwrap();
    let dimensions = json!({"os": "ios", "region": "BY"});
    assert_eq!(stored, [Some(dimensions), None, None]);
}

/// What the release before dimensions sends.
#[tokio::test]
async fn calls_of_an_earlier_release_are_understood() {
    let cluster = Cluster::new().await;
    let replica = cluster.start().await;
    let (id, slug) = replica.link().await;
    let mut role = cluster.database.connect_as_role().await;
    let record = "SELECT links.record_clicks($1, $2, $3, $4, $5, $6, $7, $8)";
    let (click, at) = (cluster.clock.uuid_v7(), cluster.clock.now());
    for new in [1_i64, 0] {
        let recorded: i64 = sqlx::query_scalar(record)
            .bind([click])
            .bind([at])
            .bind([uuid_of(&id)])
            .bind([None::<Vec<u8>>])
            .bind([None::<String>])
            .bind([None::<String>])
            .bind(["desktop"])
            .bind([None::<String>])
            .fetch_one(&mut role)
            .await
            .unwrap();
        assert_eq!(recorded, new);
    }
    let find = "SELECT url FROM links.find_redirect($1)";
    let url: String = sqlx::query_scalar(find)
        .bind(&slug)
        .fetch_one(&mut role)
        .await
        .unwrap();
    assert_eq!(url, "https://example.com/");
    let limited = json!({"url": "https://limited.example/", "maxClicks": 1});
    let limited = replica.create(limited).await;
    let take =
        "SELECT outcome FROM links.take_use($1, now(), $2, now(), NULL, NULL, NULL, 'desktop')";
    for expected in ["taken", "exhausted"] {
        let outcome: String = sqlx::query_scalar(take)
            .bind(uuid_of(limited["id"].as_str().unwrap()))
            .bind(cluster.clock.uuid_v7())
            .fetch_one(&mut role)
            .await
            .unwrap();
        assert_eq!(outcome, expected);
    }
    replica.expect_counts(&id, [1, 1, 0, 0]).await;
}
