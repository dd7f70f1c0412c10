//! Static sites: files of a directory, as a browser wants them.
//!
//! ```text
//! settings       `[sites.*]`; `asked`: a request
//! names          what files may be called: nothing hidden; `resolve`: which file a path means
//! release        the directory that is served now: all files change with it at once
//! open           opens a file beneath a directory, and never one outside; `directory`: what it is
//! look           waits for that; `checked`: when it was last done
//! entry          what is known of a file, with its precompressed siblings, and small contents
//! siblings       files with its contents compressed; `precompressed`: which one a client gets
//! validators     `ETag`, `Last-Modified`, and the conditions about them
//! rules          what caches may keep, by the name of a file
//! types          `Content-Type`
//! answer         the response made of these
//! ```
//!
//! Whatever waits for the file system runs on a thread for that, a bounded number at a time; small
//! files that were looked at a moment ago are answered at once.

mod answer;
mod asked;
mod checked;
mod directory;
mod entry;
mod look;
mod names;
mod open;
mod precompressed;
mod release;
mod resolve;
mod rules;
mod settings;
mod siblings;
mod types;
mod validators;

use std::{fmt, sync::Arc};

use quartet_common::{clock::Clock, problem::Problem};

use crate::{error, reply::Reply};
use answer::Target;
pub(crate) use asked::{Asked, Compressor};
use entry::Located;
use look::{SiteError, TRIES};
pub(crate) use names::is_served;
use release::{Current, Release};
use resolve::{PathKind, Place};
use rules::CacheRule;
pub(crate) use settings::{PathRule, SiteSettings};

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
        if !asked.is_navigation() {
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
