//! A directory of one machine: a file for each row, one for all challenges, and one that is locked while
//! they change. Gateways of the machine may share it.
//!
//! A file is written beside its place and renamed, so that a reader, or a machine that loses power, finds the
//! old one or the new one.

use std::{
    collections::HashMap,
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};
use quartet_common::clock::Clock;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use super::{
    contract::{Holder, MAX_CHALLENGES, MAX_ROW_BYTES, StoreError},
    lease_row::LeaseRow,
};
use crate::tls::acme::schedule::delta;

/// A network file system may not answer.
const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_THREADS: usize = 4;
const OWNER_ONLY: u32 = 0o600;
const CHALLENGES: &str = "challenges.json";
const LOCK: &str = "lock";
/// A file has a row in JSON, as a text in JSON.
const MAX_FILE_BYTES: u64 = 3 * MAX_ROW_BYTES as u64;

#[derive(Clone)]
pub(crate) struct DirectoryStore {
    path: PathBuf,
    clock: Clock,
    /// Threads that may wait for the file system, which go on after a time-out.
    threads: Arc<Semaphore>,
}

#[derive(Default, Deserialize, Serialize)]
struct RowFile {
    lease: Option<LeaseRow>,
    row: Option<String>,
}

#[derive(Default, Deserialize, Serialize)]
struct ChallengeFile(HashMap<String, StoredChallenge>);

#[derive(Deserialize, Serialize)]
struct StoredChallenge {
    answer: String,
    until: DateTime<Utc>,
}

impl DirectoryStore {
    pub(super) fn new(path: &Path, clock: Clock) -> Self {
        Self {
            path: path.to_owned(),
            clock,
            threads: Arc::new(Semaphore::new(MAX_THREADS)),
        }
    }

    pub(super) async fn load(&self, name: &str) -> Result<Option<String>, StoreError> {
        let file = row_file(name);
        let read = self.blocking(move |this| this.read::<RowFile>(&file));
        Ok(read.await?.row)
    }

    pub(super) async fn acquire(
        &self,
        name: &str,
        owner: &str,
        ttl: Duration,
    ) -> Result<Option<u64>, StoreError> {
        let (owner, now) = (owner.to_owned(), self.clock.now());
        let change = move |file: &mut RowFile| {
            let lease = LeaseRow::acquire(file.lease.as_ref(), &owner, now, ttl)?;
            let epoch = lease.epoch;
            file.lease = Some(lease);
            Some(epoch)
        };
        self.change(row_file(name), change).await
    }

    pub(super) async fn extend(
        &self,
        name: &str,
        holder: Holder<'_>,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let until = self.clock.now() + delta(ttl);
        self.held(name, holder, move |file| {
            if let Some(lease) = &mut file.lease {
                lease.until = until;
            }
        })
        .await
    }

    pub(super) async fn put(
        &self,
        name: &str,
        holder: Holder<'_>,
        row: &str,
    ) -> Result<bool, StoreError> {
        let row = row.to_owned();
        self.held(name, holder, |file| file.row = Some(row)).await
    }

    pub(super) async fn challenges(&self) -> Result<HashMap<String, String>, StoreError> {
        let read = self.blocking(|this| this.read::<ChallengeFile>(CHALLENGES));
        let now = self.clock.now();
        let all = read.await?.0.into_iter();
        let current = all.filter(|(_, challenge)| challenge.until > now);
        Ok(current.map(|(token, it)| (token, it.answer)).collect())
    }

    pub(super) async fn add_challenge(
        &self,
        token: &str,
        answer: &str,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let (token, now) = (token.to_owned(), self.clock.now());
        let challenge = StoredChallenge {
            answer: answer.to_owned(),
            until: now + delta(ttl),
        };
        let change = move |file: &mut ChallengeFile| {
            file.0.retain(|_, challenge| challenge.until > now);
            let has_room = file.0.len() < MAX_CHALLENGES;
            has_room.then(|| drop(file.0.insert(token, challenge)))
        };
        let added = self.change(CHALLENGES.to_owned(), change).await?;
        added.ok_or_else(|| StoreError::Refused("too many challenges".to_owned()))
    }

    pub(super) async fn remove_challenge(&self, token: &str) -> Result<(), StoreError> {
        let token = token.to_owned();
        let change = move |file: &mut ChallengeFile| file.0.remove(&token).map(drop);
        self.change(CHALLENGES.to_owned(), change).await?;
        Ok(())
    }

    /// A change by the holder of the lease. False: it is another one's.
    async fn held(
        &self,
        name: &str,
        (owner, epoch): Holder<'_>,
        change: impl FnOnce(&mut RowFile) + Send + 'static,
    ) -> Result<bool, StoreError> {
        let owner = owner.to_owned();
        let change = move |file: &mut RowFile| {
            let lease = file.lease.as_ref();
            let is_holder = lease.is_some_and(|lease| lease.is_of(&owner, epoch));
            is_holder.then(|| change(file))
        };
        Ok(self.change(row_file(name), change).await?.is_some())
    }

    /// Reads, changes and writes a file while no one else does. `None` of `change`: nothing is written.
    async fn change<F, T>(
        &self,
        file: String,
        change: impl FnOnce(&mut F) -> Option<T> + Send + 'static,
    ) -> Result<Option<T>, StoreError>
    where
        F: Default + DeserializeOwned + Serialize + 'static,
        T: Send + 'static,
    {
        self.blocking(move |this| {
            let _lock = this.lock()?;
            let mut content: F = this.read(&file)?;
            let changed = change(&mut content);
            if changed.is_some() {
                this.write(&file, &content)?;
            }
            Ok(changed)
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let this = self.clone();
        let done = timeout(TIMEOUT, async {
            // Never closed.
            let permit = Arc::clone(&this.threads).acquire_owned().await.ok();
            let work = spawn_blocking(move || {
                let _permit = permit;
                work(&this)
            });
            work.await
        });
        let done = done.await.map_err(|_| StoreError::Slow)?;
        done.map_err(|error| failed(&self.path, io::Error::other(error)))?
    }

    /// Until it is dropped.
    fn lock(&self) -> Result<File, StoreError> {
        let path = self.path.join(LOCK);
        let locked = || -> io::Result<File> {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.path)?;
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).write(true);
            let file = options.mode(OWNER_ONLY).open(&path)?;
            flock(&file, FlockOperation::LockExclusive)?;
            Ok(file)
        };
        locked().map_err(|error| failed(&path, error))
    }

    /// The default, if there is no such file.
    fn read<F: Default + DeserializeOwned>(&self, file: &str) -> Result<F, StoreError> {
        let path = self.path.join(file);
        let read = || -> io::Result<F> {
            let opened = match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(F::default()),
                opened => opened?,
            };
            let mut text = Vec::new();
            opened.take(MAX_FILE_BYTES).read_to_end(&mut text)?;
            Ok(serde_json::from_slice(&text)?)
        };
        read().map_err(|error| failed(&path, error))
    }

    fn write<F: Serialize>(&self, file: &str, content: &F) -> Result<(), StoreError> {
        let path = self.path.join(file);
        // The lock is held, so no one else uses this name.
        let beside = self.path.join(format!("{file}.new"));
        let write = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            options.create(true).truncate(true).write(true);
            let mut opened = options.mode(OWNER_ONLY).open(&beside)?;
            opened.write_all(&serde_json::to_vec(content)?)?;
            opened.sync_all()?;
            std::fs::rename(&beside, &path)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|error| failed(&path, error))
    }
}

fn failed(path: &Path, source: io::Error) -> StoreError {
    let path = path.display().to_string();
    StoreError::File { path, source }
}

fn row_file(name: &str) -> String {
    format!("{name}.json")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use chrono::TimeDelta;

    use super::*;

    const TTL: Duration = Duration::from_mins(1);

    fn store(directory: &tempfile::TempDir) -> (DirectoryStore, Clock) {
        let clock = Clock::manual("2026-11-01T00:00:00Z".parse().unwrap());
        let path = directory.path().join("a/b");
        (DirectoryStore::new(&path, clock.clone()), clock)
    }

    #[tokio::test]
    async fn only_the_holder_of_the_lease_writes() {
        let directory = tempfile::tempdir().unwrap();
        let (store, clock) = store(&directory);
        assert_eq!(store.load("certificate-a").await.unwrap(), None);
        let epoch = store
            .acquire("certificate-a", "one", TTL)
            .await
            .unwrap()
            .unwrap();
        let one = ("one", epoch);
        assert!(store.put("certificate-a", one, "first").await.unwrap());
        assert_eq!(
            store.acquire("certificate-a", "two", TTL).await.unwrap(),
            None
        );
        clock.advance(TimeDelta::seconds(61));
        let epoch = store
            .acquire("certificate-a", "two", TTL)
            .await
            .unwrap()
            .unwrap();
        let two = ("two", epoch);
        assert!(!store.put("certificate-a", one, "late").await.unwrap());
        assert!(!store.extend("certificate-a", one, TTL).await.unwrap());
        assert!(store.extend("certificate-a", two, TTL).await.unwrap());
        let row = store.load("certificate-a").await.unwrap();
        assert_eq!(row.as_deref(), Some("first"));
        // Released, it is free at once.
        assert!(
            store
                .extend("certificate-a", two, Duration::ZERO)
                .await
                .unwrap()
        );
        let next = store.acquire("certificate-a", "one", TTL).await.unwrap();
        assert_eq!(next, Some(epoch + 1));
    }

    #[tokio::test]
    async fn challenges_expire() {
        let directory = tempfile::tempdir().unwrap();
        let (store, clock) = store(&directory);
        store.add_challenge("a", "a.x", TTL).await.unwrap();
        clock.advance(TimeDelta::seconds(30));
        store.add_challenge("b", "b.x", TTL).await.unwrap();
        assert_eq!(store.challenges().await.unwrap().len(), 2);
        clock.advance(TimeDelta::seconds(31));
        let left = store.challenges().await.unwrap();
        assert_eq!(left, HashMap::from([("b".to_owned(), "b.x".to_owned())]));
        store.remove_challenge("b").await.unwrap();
        store.remove_challenge("unknown").await.unwrap();
        assert!(store.challenges().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn files_are_the_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = store(&directory);
        let epoch = store
            .acquire("certificate-a", "one", TTL)
            .await
            .unwrap()
            .unwrap();
        store
            .put("certificate-a", ("one", epoch), "row")
            .await
            .unwrap();
        store.add_challenge("a", "a.x", TTL).await.unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&store.path), 0o700);
        let files = std::fs::read_dir(&store.path).unwrap();
        let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        assert_eq!(files.len(), 3, "{files:?}");
        assert!(files.iter().all(|file| mode(file) == OWNER_ONLY));
    }

    /// A directory that cannot be used is an error, and not an empty store.
    #[tokio::test]
    async fn what_cannot_be_read_is_not_taken_for_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = store(&directory);
        std::fs::create_dir_all(&store.path).unwrap();
        std::fs::write(store.path.join("certificate-a.json"), "{").unwrap();
        assert!(store.load("certificate-a").await.is_err());
        assert!(store.acquire("certificate-a", "one", TTL).await.is_err());
        let blocked = DirectoryStore::new(&store.path.join("certificate-a.json"), Clock::system());
        assert!(blocked.acquire("certificate-a", "one", TTL).await.is_err());
    }
}
