//! Stores the session on disk.

use std::fs::{self, DirBuilder};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;
use quartet_client::{Session, TokenStore};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

const FILE: &str = "session.json";

/// The contents of the file.
#[derive(Debug, Serialize, Deserialize)]
struct StoredSession {
    url: String,
    session: Session,
}

/// The file with the session of one server. The session of another server is ignored.
#[derive(Clone, Debug)]
pub(crate) struct FileStore {
    path: PathBuf,
    url: String,
}

/// `quartet/session.json` in the configuration directory (`XDG_CONFIG_HOME`).
pub(crate) fn path() -> io::Result<PathBuf> {
    let base = etcetera::choose_base_strategy().map_err(io::Error::other)?;
    Ok(base.config_dir().join("quartet").join(FILE))
}

/// The server of the stored session.
pub(crate) fn last_url(path: &Path) -> io::Result<Option<String>> {
    Ok(read(path)?.map(|stored| stored.url))
}

impl FileStore {
    pub(crate) fn new(path: PathBuf, url: &str) -> Self {
        Self {
            path,
            url: url.to_owned(),
        }
    }
}

impl TokenStore for FileStore {
    fn load(&self) -> io::Result<Option<Session>> {
        let stored = read(&self.path)?.filter(|stored| stored.url == self.url);
        Ok(stored.map(|stored| stored.session))
    }

    /// Writes the file completely or not at all, never readable by others.
    fn save(&self, session: &Session) -> io::Result<()> {
        let stored = StoredSession {
            url: self.url.clone(),
            session: session.clone(),
        };
        let directory = self.path.parent().unwrap_or(Path::new("."));
        create_private(directory)?;
        // Created with mode 0600.
        let mut file = NamedTempFile::new_in(directory)?;
        serde_json::to_writer_pretty(&mut file, &stored)?;
        file.flush()?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|error| error.error)?;
        Ok(())
    }

    fn clear(&self) -> io::Result<()> {
        if self.load()?.is_none() {
            return Ok(());
        }
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

fn read(path: &Path) -> io::Result<Option<StoredSession>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| {
        // Without the content, which is secret.
        let place = format!("line {}, column {}", error.line(), error.column());
        io::Error::other(format!(
            "{} is damaged ({place}); log in again",
            path.display()
        ))
    })
}

fn create_private(directory: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

#[cfg(all(test, unix))]
mod tests {
    use std::time::SystemTime;

    use quartet_client::{Session, TokenStore as _};

    use super::FileStore;

    fn session() -> Session {
        Session {
            session_id: "ses_1".into(),
            access_token: "an access token".into(),
            refresh_token: "a refresh token".into(),
            renew_at: SystemTime::now(),
        }
    }

    #[test]
    fn only_the_owner_can_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("quartet/session.json");
        let store = FileStore::new(path.clone(), "http://a");
        assert!(store.load().unwrap().is_none());
        store.save(&session()).unwrap();
        let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        let kept = store.load().unwrap().unwrap();
        assert_eq!(kept.refresh_token, session().refresh_token);
        assert!(!format!("{kept:?}").contains("a refresh token"));

        let other = FileStore::new(path.clone(), "http://b");
        assert!(other.load().unwrap().is_none(), "another server's session");
        other.clear().unwrap();
        assert!(path.exists(), "it is not removed either");
        store.clear().unwrap();
        assert!(!path.exists());
        let left = path.parent().unwrap().read_dir().unwrap().count();
        assert_eq!(left, 0, "no half-written file stays");
    }

    #[test]
    fn a_damaged_file_is_reported_without_its_content() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("session.json");
        std::fs::write(&path, "{\"url\": \"http://a\", \"session\": \"a secret\"}").unwrap();
        let error = FileStore::new(path, "http://a").load().unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
