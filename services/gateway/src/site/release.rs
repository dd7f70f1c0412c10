//! The directory that a site is served from now.
//!
//! It is opened once and kept, and its path is looked at again after `check_interval_ms`. Another
//! directory at that path, swapped in by a rename or a symbolic link, takes its place with all files at
//! once; an answer under way keeps the one that it began with. While there is none at the path,
//! as in the middle of a swap by two renames, the last one is served.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwapOption;
use quartet_common::clock::Clock;
use tokio::sync::Mutex;

use super::{
    checked::Checked,
    directory::Directory,
    entry::{self, Entry, Located},
    look::{SiteError, look},
    settings::SiteSettings,
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
    pub(super) directory: Arc<Directory>,
    files: moka::sync::Cache<Box<str>, Arc<Entry>>,
    /// The one before, until then.
    previous: Option<(Arc<Self>, Instant)>,
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
        let (settings, clock) = (Arc::clone(&self.settings), self.clock.clone());
        let opened = look(move || Directory::open(&settings, &clock)).await?;
        let known = self.release.load_full();
        let directory = match opened {
            Ok(directory) => directory,
            Err(error) => {
                self.warn_away(&error);
                let known = known.ok_or(SiteError::Directory(error))?;
                self.checked.touch();
                return Ok(known);
            }
        };
        self.is_away.store(false, Ordering::Relaxed);
        let release = match known {
            Some(known) if known.directory.id == directory.id => known,
            before => {
                let release = Arc::new(self.release_of(directory, before));
                self.release.store(Some(Arc::clone(&release)));
                release
            }
        };
        self.checked.touch();
        Ok(release)
    }

    fn release_of(&self, directory: Directory, before: Option<Arc<Release>>) -> Release {
        let site = &*self.settings.name;
        if before.is_some() {
            tracing::info!(target: "quartet", site, "another directory is served");
        }
        let until = Instant::now() + self.settings.keep_previous;
        let previous = before.filter(|_| !self.settings.keep_previous.is_zero());
        // Without memory of its files.
        let previous = previous.map(|previous| {
            let directory = Arc::clone(&previous.directory);
            (Arc::new(Release::new(directory, None)), until)
        });
        Release::new(Arc::new(directory), previous)
    }

    fn warn_away(&self, error: &io::Error) {
        if !self.is_away.swap(true, Ordering::Relaxed) {
            let (site, directory) = (&*self.settings.name, self.settings.directory.display());
            tracing::warn!(target: "quartet", site, %directory, %error, "the directory of a site cannot be opened");
        }
    }
}

impl Release {
    fn new(directory: Arc<Directory>, previous: Option<(Arc<Self>, Instant)>) -> Self {
        let files = moka::sync::Cache::<Box<str>, Arc<Entry>>::builder()
            .weigher(|name, entry| {
                let size = OVERHEAD_BYTES + name.len() + entry.size_bytes();
                u32::try_from(size).unwrap_or(u32::MAX)
            })
            .max_capacity(directory.settings.max_cache_bytes)
            .build();
        Self {
            directory,
            files,
            previous,
        }
    }

    /// The one that was served before, if its files are still to be found.
    pub(super) fn previous(&self) -> Option<&Arc<Self>> {
        let (previous, until) = self.previous.as_ref()?;
        (Instant::now() < *until).then_some(previous)
    }

    /// A file that was looked at a moment ago.
    pub(super) fn fresh(&self, name: &str) -> Option<Arc<Entry>> {
        let entry = self.files.get(name);
        entry.filter(|entry| {
            entry
                .checked
                .is_within(self.directory.settings.check_interval)
        })
    }

    /// # Errors
    /// When the file system cannot say.
    pub(super) async fn find(&self, name: &str) -> Result<Located, SiteError> {
        let known = self.files.get(name);
        if let Some(entry) = &known
            && entry
                .checked
                .is_within(self.directory.settings.check_interval)
        {
            return Ok(Located::File(Arc::clone(entry)));
        }
        let (directory, wanted) = (Arc::clone(&self.directory), name.to_owned());
        let found = look(move || entry::load(&directory, &wanted, known)).await?;
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
