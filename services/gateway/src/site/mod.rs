//! Static sites: files of a directory, as a browser wants them.
//!
//! ```text
//! resolve        which file a path means; what is hidden
//! release        the directory that is served now: all files change with it at once
//! open           opens a file beneath it, and never one outside
//! entry          what is known of a file, with its precompressed siblings, and small contents
//! precompressed  which sibling a client gets
//! validators     `ETag`, `Last-Modified`, and the conditions about them
//! rules          what caches may keep, by the name of a file
//! types          `Content-Type`
//! answer         the response made of these
//! ```
//!
//! Whatever waits for the file system runs on a thread for that, a bounded number at a time; small
//! files that were looked at a moment ago are answered at once.

mod answer;
mod entry;
mod open;
mod precompressed;
mod release;
mod resolve;
mod rules;
mod types;
mod validators;

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{Arc, LazyLock},
    time::Duration,
};

use http::{HeaderValue, Method};
use quartet_common::clock::Clock;
use quartet_common::problem::Problem;
use tokio::sync::Semaphore;

use crate::{error, reply::Reply, request::Headers, routing::Coding};
use entry::{Entry, Located};
pub(crate) use precompressed::Compressor;
use release::{Current, Release};
pub(crate) use resolve::is_served;
use resolve::{PathKind, Place};
use rules::CacheRule;
pub(crate) use rules::PathRule;

/// Looks into the file system that are under way at once, of all sites. Others wait.
const MAX_LOOKS: usize = 64;
/// How long one of them may wait for its turn.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a file is looked at again that changes at the very moment.
const TRIES: usize = 3;

static LOOKS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(MAX_LOOKS)));

/// `[sites.*]`, valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SiteSettings {
    pub(crate) name: Arc<str>,
    pub(crate) directory: PathBuf,
    /// The file of a path that ends with a slash.
    pub(crate) index: Box<str>,
    /// For navigations to paths without a file. `None`: 404.
    pub(crate) fallback: Option<Box<str>>,
    /// The page with status 404.
    pub(crate) not_found: Option<Box<str>>,
    /// `/about` is `about.html`.
    pub(crate) clean_urls: bool,
    /// Of siblings, the preferred one first, where the client has no preference.
    pub(crate) precompressed: Vec<Coding>,
    pub(crate) immutable_names: bool,
    pub(crate) immutable_paths: Vec<PathRule>,
    /// Of files that are neither immutable nor pages; 0: they are revalidated.
    pub(crate) max_age_seconds: u64,
    pub(crate) check_interval: Duration,
    /// How long immutable files of the directory before are served.
    pub(crate) keep_previous: Duration,
    pub(crate) max_cache_bytes: u64,
    pub(crate) max_cached_file_bytes: u64,
    /// By the extension in lower case.
    pub(crate) content_types: BTreeMap<Box<str>, HeaderValue>,
}

/// What is asked of a site.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    /// Of the request, in its one spelling.
    pub(crate) path: &'a str,
    /// What of it is behind the prefix of the route: empty, or with a slash at the beginning.
    pub(crate) rest: &'a str,
    /// With its question mark.
    pub(crate) query: &'a str,
    pub(crate) headers: &'a dyn Headers,
    /// Shared caches must not keep the responses.
    pub(crate) is_private: bool,
    pub(crate) compressor: Option<Compressor<'a>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SiteError {
    #[error("the directory of the site cannot be opened: {0}")]
    Directory(std::io::Error),
    #[error("a file of the site cannot be read: {0}")]
    File(std::io::Error),
    #[error("the file system did not answer in time")]
    Slow,
    #[error("the file changes all the time")]
    Changing,
    #[error("too many files are open")]
    TooManyOpen,
}

impl From<SiteError> for Problem {
    fn from(error: SiteError) -> Self {
        error::site_unavailable(error)
    }
}

/// One site of the configuration in force.
pub(crate) struct Site {
    pub(crate) settings: Arc<SiteSettings>,
    current: Current,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Site").field(&self.settings.name).finish()
    }
}

/// A file to answer with, and the status.
struct Target {
    release: Arc<Release>,
    entry: Arc<Entry>,
    /// Of the response: 200, or 404 with a page for that.
    is_missing: bool,
}

/// What a look has found.
enum Looked {
    Target(Target),
    /// A directory, whose path lacks its slash.
    Directory,
    Missing,
}

impl Site {
    pub(crate) fn new(settings: SiteSettings, clock: Clock) -> Self {
        let settings = Arc::new(settings);
        Self {
            current: Current::new(Arc::clone(&settings), clock),
            settings,
        }
    }

    /// The answer, if nothing has to be waited for.
    pub(crate) fn answer_now(&self, asked: &Asked<'_>) -> Option<Result<Reply, Problem>> {
        let place = match resolve::place(asked) {
            Ok(place) => place,
            Err(known) => return Some(known),
        };
        let release = self.current.fresh()?;
        let name = self.file_name(&place)?;
        let entry = release.fresh(&name)?;
        let target = Target {
            release,
            entry,
            is_missing: false,
        };
        answer::from_memory(&target, asked).map(Ok)
    }

    /// The answer.
    ///
    /// # Errors
    /// The problem that is the response.
    pub(crate) async fn answer(&self, asked: &Asked<'_>) -> Result<Reply, Problem> {
        let place = match resolve::place(asked) {
            Ok(place) => place,
            Err(known) => return known,
        };
        let release = self.current.get().await?;
        for _ in 0..TRIES {
            let target = match self.look(&release, &place, asked).await? {
                Looked::Target(target) => target,
                Looked::Directory => return Ok(answer::redirect(asked)),
                Looked::Missing => return Err(error::no_route()),
            };
            if let Some(reply) = answer::answer(&target, asked).await? {
                return Ok(reply);
            }
            // It is another file by now.
            target.release.forget(&target.entry.name);
        }
        Err(SiteError::Changing.into())
    }

    /// The name of the file that a path means, before it is known whether there is one.
    fn file_name(&self, place: &Place) -> Option<String> {
        match &place.wanted {
            PathKind::File => Some(place.name.clone()),
            PathKind::Directory => Some(place.join(&self.settings.index)),
            PathKind::Nothing => None,
        }
    }

    async fn look(
        &self,
        release: &Arc<Release>,
        place: &Place,
        asked: &Asked<'_>,
    ) -> Result<Looked, SiteError> {
        let found = |release: &Arc<Release>, entry| {
            Looked::Target(Target {
                release: Arc::clone(release),
                entry,
                is_missing: false,
            })
        };
        if let Some(name) = self.file_name(place) {
            match release.find(&name).await? {
                Located::File(entry) => return Ok(found(release, entry)),
                Located::Directory if place.wanted == PathKind::File => {
                    let index = place.join(&self.settings.index);
                    if let Located::File(_) = release.find(&index).await? {
                        return Ok(Looked::Directory);
                    }
                }
                Located::Directory | Located::Missing => {}
            }
        }
        if self.settings.clean_urls && place.wanted == PathKind::File {
            let page = format!("{}.html", place.name);
            if let Located::File(entry) = release.find(&page).await? {
                return Ok(found(release, entry));
            }
        }
        if let Some(previous) = release.previous()
            && place.wanted == PathKind::File
            && rules::of(&place.name, &self.settings) == CacheRule::Immutable
            && let Located::File(entry) = previous.find(&place.name).await?
        {
            return Ok(found(previous, entry));
        }
        self.instead(release, place, asked).await
    }

    /// The answer to a path without a file.
    async fn instead(
        &self,
        release: &Arc<Release>,
        place: &Place,
        asked: &Asked<'_>,
    ) -> Result<Looked, SiteError> {
        if !resolve::is_navigation(asked) {
            return Ok(Looked::Missing);
        }
        let fallback = self.settings.fallback.as_deref();
        let fallback = fallback.filter(|_| place.may_fall_back());
        let pages = [
            (fallback, false),
            (self.settings.not_found.as_deref(), true),
        ];
        for (name, is_missing) in pages {
            if let Some(name) = name
                && let Located::File(entry) = release.find(name).await?
            {
                return Ok(Looked::Target(Target {
                    release: Arc::clone(release),
                    entry,
                    is_missing,
                }));
            }
        }
        Ok(Looked::Missing)
    }
}

/// Runs what waits for the file system, once it is its turn.
async fn look<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SiteError> {
    let looked = async {
        let permit = Arc::clone(&LOOKS).acquire_owned().await;
        let permit = permit.map_err(|_| SiteError::Slow)?;
        let work = move || {
            // Held until the file system has answered, though no request may wait for it any more.
            let _permit = permit;
            work()
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|_| SiteError::Slow)
    };
    let looked = tokio::time::timeout(LOOK_TIMEOUT, looked).await;
    looked.unwrap_or(Err(SiteError::Slow))
}
