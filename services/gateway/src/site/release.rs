//! The directory that a site is served from now.
//!
//! It is opened once and kept, and its path is looked at again after `check_interval_ms`. Another
//! directory at that path, swapped in by a rename or a symbolic link, takes its place with all files at
//! once; an answer under way keeps the one that it began with. While there is none at the path,
//! as in the middle of a swap by two renames, the last one is served.

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use quartet_common::clock::Clock;
use tokio::sync::Mutex;

use super::{
    SiteError, SiteSettings,
    entry::{self, Entry, Located},
    look, open,
};

/// What an entry takes beside its contents: validators, names, a place in the table.
const OVERHEAD_BYTES: usize = 1024;

pub(super) struct Current {
    settings: Arc<SiteSettings>,
    clock: Clock,
    release: ArcSwapOption<Release>,
    checked: Checked,
    /// Held by the request that looks whether there is another directory.
    checking: Mutex<()>,
    is_away: AtomicBool,
}

/// One directory, and what is known of its files.
pub(super) struct Release {
    pub(super) root: Arc<OwnedFd>,
    /// Device and inode. While the directory is open, no other one has them.
    id: (u64, u64),
    pub(super) settings: Arc<SiteSettings>,
    pub(super) clock: Clock,
    files: moka::sync::Cache<Box<str>, Arc<Entry>>,
    /// The one before, until then.
    previous: Option<(Arc<Self>, Instant)>,
    /// A file that may not be read was logged.
    pub(super) has_warned: AtomicBool,
}

/// When something was last compared with the file system.
#[derive(Debug)]
pub(super) struct Checked {
    start: Instant,
    /// Milliseconds after that, and one.
    at: AtomicU64,
}

impl Checked {
    fn never() -> Self {
        Self {
            start: Instant::now(),
            at: AtomicU64::new(0),
        }
    }

    pub(super) fn now() -> Self {
        let checked = Self::never();
        checked.touch();
        checked
    }

    pub(super) fn touch(&self) {
        self.at.store(self.elapsed_ms() + 1, Ordering::Relaxed);
    }

    pub(super) fn is_within(&self, interval: Duration) -> bool {
        let at = self.at.load(Ordering::Relaxed);
        let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        at > 0 && (self.elapsed_ms() + 1).saturating_sub(at) < interval
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}

impl Current {
    pub(super) fn new(settings: Arc<SiteSettings>, clock: Clock) -> Self {
        Self {
            settings,
            clock,
            release: ArcSwapOption::empty(),
            checked: Checked::never(),
            checking: Mutex::const_new(()),
            is_away: AtomicBool::new(false),
        }
    }

    /// The one that was found a moment ago.
    pub(super) fn fresh(&self) -> Option<Arc<Release>> {
        let is_fresh = self.checked.is_within(self.settings.check_interval);
        is_fresh.then(|| self.release.load_full()).flatten()
    }

    /// # Errors
    /// When there never was one, and none can be opened.
    pub(super) async fn get(&self) -> Result<Arc<Release>, SiteError> {
        if let Some(fresh) = self.fresh() {
            return Ok(fresh);
        }
        let _turn = match (self.checking.try_lock(), self.release.load_full()) {
            (Ok(turn), _) => turn,
            // Another request looks; meanwhile this one is as good as it was.
            (Err(_), Some(known)) if !self.settings.check_interval.is_zero() => return Ok(known),
            (Err(_), _) => self.checking.lock().await,
        };
        if let Some(fresh) = self.fresh() {
            return Ok(fresh);
        }
        self.check().await
    }

    async fn check(&self) -> Result<Arc<Release>, SiteError> {
        let settings = Arc::clone(&self.settings);
        let opened = look(move || {
            let root = File::from(open::directory(&settings.directory)?);
            let known = root.metadata()?;
            io::Result::Ok((OwnedFd::from(root), (known.dev(), known.ino())))
        });
        let known = self.release.load_full();
        let (root, id) = match (opened.await?, known.as_ref()) {
            (Ok(opened), _) => opened,
            (Err(error), known) => {
                self.warn_away(&error);
                let known = known.cloned().ok_or(SiteError::Directory(error))?;
                self.checked.touch();
                return Ok(known);
            }
        };
        self.is_away.store(false, Ordering::Relaxed);
        let release = match known {
            Some(known) if known.id == id => known,
            before => {
                let release = Arc::new(self.release_of(root, id, before));
                self.release.store(Some(Arc::clone(&release)));
                release
            }
        };
        self.checked.touch();
        Ok(release)
    }

    fn release_of(&self, root: OwnedFd, id: (u64, u64), before: Option<Arc<Release>>) -> Release {
        let site = &*self.settings.name;
        if before.is_some() {
            tracing::info!(target: "quartet", site, "another directory is served");
        }
        let until = Instant::now() + self.settings.keep_previous;
        let previous = before.filter(|_| !self.settings.keep_previous.is_zero());
        let previous = previous.map(|previous| (Arc::new(previous.without_previous()), until));
        Release::new(Arc::new(root), id, &self.settings, &self.clock, previous)
    }

    fn warn_away(&self, error: &io::Error) {
        if !self.is_away.swap(true, Ordering::Relaxed) {
            let (site, directory) = (&*self.settings.name, self.settings.directory.display());
            tracing::warn!(target: "quartet", site, %directory, %error, "the directory of a site cannot be opened");
        }
    }
}

impl Release {
    fn new(
        root: Arc<OwnedFd>,
        id: (u64, u64),
        settings: &Arc<SiteSettings>,
        clock: &Clock,
        previous: Option<(Arc<Self>, Instant)>,
    ) -> Self {
        let weigh = |name: &Box<str>, entry: &Arc<Entry>| {
            let size = OVERHEAD_BYTES + name.len() + entry.size_bytes();
            u32::try_from(size).unwrap_or(u32::MAX)
        };
        Self {
            root,
            id,
            settings: Arc::clone(settings),
            clock: clock.clone(),
            files: moka::sync::Cache::builder()
                .weigher(weigh)
                .max_capacity(settings.max_cache_bytes)
                .build(),
            previous,
            has_warned: AtomicBool::new(false),
        }
    }

    /// The same directory, without memory of its files.
    fn without_previous(&self) -> Self {
        let root = Arc::clone(&self.root);
        Self::new(root, self.id, &self.settings, &self.clock, None)
    }

    /// The one that was served before, if its files are still to be found.
    pub(super) fn previous(&self) -> Option<&Arc<Self>> {
        let (previous, until) = self.previous.as_ref()?;
        (Instant::now() < *until).then_some(previous)
    }

    /// A file that was looked at a moment ago.
    pub(super) fn fresh(&self, name: &str) -> Option<Arc<Entry>> {
        let entry = self.files.get(name);
        entry.filter(|entry| entry.checked.is_within(self.settings.check_interval))
    }

    /// # Errors
    /// When the file system cannot say.
    pub(super) async fn find(self: &Arc<Self>, name: &str) -> Result<Located, SiteError> {
        let known = self.files.get(name);
        if let Some(entry) = &known
            && entry.checked.is_within(self.settings.check_interval)
        {
            return Ok(Located::File(Arc::clone(entry)));
        }
        let (release, wanted) = (Arc::clone(self), name.to_owned());
        let found = look(move || entry::load(&release, &wanted, known)).await?;
        let found = found.map_err(SiteError::File)?;
        match &found {
            Located::File(entry) => self.files.insert(name.into(), Arc::clone(entry)),
            Located::Directory | Located::Missing => self.files.invalidate(name),
        }
        Ok(found)
    }

    pub(super) fn forget(&self, name: &str) {
        self.files.invalidate(name);
    }
}
