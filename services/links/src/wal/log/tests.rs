use std::time::Duration;

use super::{
    super::{
        segment::{BatchEnd, SegmentReader},
        writer::Fsync,
    },
    *,
};

fn settings(fsync: Fsync) -> Settings {
    Settings {
        fsync,
        segment_bytes: 200,
        limit_bytes: 10_000,
    }
}

fn read(directory: &std::path::Path, up_to: Position) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for number in 1..=up_to.segment {
        let bound = (number == up_to.segment).then_some(up_to.offset);
        let mut reader = SegmentReader::open(directory, number).unwrap();
        let batch = reader.read(bound, usize::MAX).unwrap();
        assert_eq!((batch.ending, batch.skipped.bytes), (BatchEnd::Done, 0));
        all.extend(batch.payloads);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn confirmed_payloads_can_be_read_in_every_fsync_mode() {
    for fsync in [
        Fsync::Group,
        Fsync::Interval(Duration::from_millis(1)),
        Fsync::Off,
    ] {
        let directory = tempfile::tempdir().unwrap();
        let wal = Wal::create(directory.path().to_owned(), settings(fsync)).unwrap();
        for round in 0..5_u32 {
            let appends = (0..20_u32).map(|n| {
                let wal = wal.clone();
                tokio::spawn(async move { wal.append(&(round * 20 + n).to_le_bytes()).await })
            });
            for outcome in futures_util::future::join_all(appends).await {
                outcome.unwrap().unwrap();
            }
        }
        let position = *wal.written().borrow();
        assert!(
            position.segment > 1,
            "the payloads do not fit one segment of 200 bytes"
        );
        let mut read = read(directory.path(), position);
        read.sort_unstable_by_key(|p| u32::from_le_bytes(p[..].try_into().unwrap()));
        let expected: Vec<Vec<u8>> = (0..100_u32).map(|n| n.to_le_bytes().to_vec()).collect();
        assert_eq!(read, expected);
    }
}

/// Requests that are dropped at any point neither lose the wake-up of another one nor its frame.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn dropped_appends_do_not_keep_the_others_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let many = Settings {
        limit_bytes: 1 << 20,
        ..settings(Fsync::Group)
    };
    let wal = Wal::create(directory.path().to_owned(), many).unwrap();
    let appends = (0..400_u32).map(|n| {
        let wal = wal.clone();
        tokio::spawn(async move {
            if n % 3 == 0 {
                let impatient = Duration::from_micros(u64::from(n) * 7);
                let _ = tokio::time::timeout(impatient, wal.append(b"left")).await;
            } else {
                wal.append(&n.to_le_bytes()).await.unwrap();
            }
        })
    });
    let all = futures_util::future::join_all(appends.collect::<Vec<_>>());
    for outcome in tokio::time::timeout(Duration::from_secs(20), all)
        .await
        .unwrap()
    {
        outcome.unwrap();
    }
    wal.close().await;
    let position = *wal.written().borrow();
    let kept = read(directory.path(), position);
    assert_eq!(
        kept.iter().filter(|it| it.as_slice() != b"left").count(),
        266
    );
}

#[tokio::test]
async fn full_log_refuses_appends_until_segments_are_released() {
    let directory = tempfile::tempdir().unwrap();
    let wal = Wal::create(directory.path().to_owned(), settings(Fsync::Off)).unwrap();
    let payload = [7; 1000];
    while wal.append(&payload).await.is_ok() {}
    assert!(matches!(
        wal.append(&payload).await,
        Err(AppendError::Full { .. })
    ));
    let last = wal.written().borrow().segment;
    let released: u64 = (1..=last).map(|number| wal.release(number)).sum();
    assert!(released > 0 && wal.held_bytes() == 0);
    wal.append(&payload).await.unwrap();
}

#[tokio::test]
async fn frames_that_wait_for_a_stalled_disk_are_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let large = Settings {
        limit_bytes: 1 << 30,
        ..settings(Fsync::Off)
    };
    let wal = Wal::create(directory.path().to_owned(), large).unwrap();
    // The task that holds the writer is stuck in a write.
    let stalled = wal.try_guard().unwrap();
    let payload = [7; 4000];
    let mut waiting = 0;
    while wal.enqueue(&payload).is_ok() {
        waiting += payload.len();
    }
    assert!(matches!(wal.enqueue(&payload), Err(AppendError::Stalled)));
    assert!((3 << 20..=4 << 20).contains(&waiting), "{waiting}");
    drop(stalled);
    wal.close().await;
}

#[tokio::test]
async fn a_write_that_panics_fails_its_group_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let wal = Wal::create(directory.path().to_owned(), settings(Fsync::Off)).unwrap();
    let sync_with = |sync: fn(&std::path::Path) -> io::Result<()>| {
        wal.try_guard().unwrap().writer.sync_directory_with(sync);
    };
    sync_with(|_| panic!("planted"));
    let appends = futures_util::future::join_all([wal.append(b"one"), wal.append(b"two")]);
    let appends = tokio::time::timeout(Duration::from_secs(20), appends).await;
    for outcome in appends.expect("the members of the group are notified") {
        assert!(matches!(outcome, Err(AppendError::Write(_))), "{outcome:?}");
    }
    sync_with(|_| Ok(()));
    wal.append(b"three").await.unwrap();
}

#[tokio::test]
async fn a_seal_that_is_dropped_when_its_turn_comes_keeps_no_append_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let wal = Wal::create(directory.path().to_owned(), settings(Fsync::Off)).unwrap();
    let guard = wal.try_guard().unwrap();
    let mut seal = Box::pin(wal.seal());
    assert!(futures_util::poll!(&mut seal).is_pending());
    let mut append = Box::pin(wal.append(b"payload"));
    for _ in 0..3 {
        assert!(futures_util::poll!(&mut append).is_pending());
        tokio::task::yield_now().await;
    }
    drop(guard);
    drop(seal);
    let appended = tokio::time::timeout(Duration::from_secs(20), append).await;
    appended.expect("the append is woken").unwrap();
}

#[tokio::test]
async fn closed_log_has_every_payload_and_refuses_appends() {
    let directory = tempfile::tempdir().unwrap();
    let wal = Wal::create(directory.path().to_owned(), settings(Fsync::Off)).unwrap();
    wal.append(b"last").await.unwrap();
    wal.close().await;
    let mut written = wal.written();
    let position = *written.wait_for(|position| position.closed).await.unwrap();
    assert_eq!(read(directory.path(), position), [b"last".to_vec()]);
    assert!(matches!(
        wal.append(b"late").await,
        Err(AppendError::Closed)
    ));
}
