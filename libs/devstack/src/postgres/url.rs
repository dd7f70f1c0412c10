use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result, ensure};
use percent_encoding::percent_decode_str;
use url::{Position, Url};

/// A `postgres://` URL. `Debug` hides the password; only [`PostgresUrl::reveal`] shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(Url);

impl PostgresUrl {
    /// Host and port, which may be printed.
    pub fn host(&self) -> &str {
        &self.0[Position::BeforeHost..Position::AfterPort]
    }

    pub fn database(&self) -> String {
        decoded(self.0.path().trim_start_matches('/'))
    }

    #[must_use]
    pub fn with_database(&self, database: &str) -> Self {
        let mut url = self.0.clone();
        url.set_path(&format!("/{database}"));
        Self(url)
    }

    /// The same server as another user.
    #[must_use]
    pub fn with_user(&self, user: &str, password: &str) -> Self {
        let mut url = self.0.clone();
        // Only a URL without a host cannot have a user.
        let _ = url.set_username(user);
        let _ = url.set_password(Some(password));
        Self(url)
    }

    /// The URL with its password. Never print it.
    pub fn reveal(&self) -> String {
        self.0.to_string()
    }

    /// The URL without its password.
    pub fn without_password(&self) -> String {
        let mut url = self.0.clone();
        let _ = url.set_password(None);
        url.into()
    }

    /// The password alone. Never print it.
    pub fn password(&self) -> Option<String> {
        self.0.password().map(decoded)
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.without_password())
    }
}

impl FromStr for PostgresUrl {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        // The text may contain a password, so the message does not repeat it.
        const FORM: &str = "a Postgres URL looks like postgres://user@host:5432/name";
        let mut url = Url::parse(text.trim()).ok().context(FORM)?;
        let has_host = url.host_str().is_some_and(|host| !host.is_empty());
        let is_postgres = ["postgres", "postgresql"].contains(&url.scheme());
        ensure!(has_host && is_postgres, FORM);
        // One spelling of both.
        let _ = url.set_scheme("postgres");
        if url.path().trim_matches('/').is_empty() {
            url.set_path("/postgres");
        }
        Ok(Self(url))
    }
}

#[cfg(test)]
mod tests {
    use super::PostgresUrl;

    #[test]
    fn changes_database_and_user() {
        let url: PostgresUrl = "postgresql://admin:p%40ss@db.example:5432/app?sslmode=require"
            .parse()
            .unwrap();
        assert_eq!(url.password().as_deref(), Some("p@ss"));
        assert_eq!(
            url.with_user("quartet_core", "abc")
                .with_database("x")
                .reveal(),
            "postgres://quartet_core:abc@db.example:5432/x?sslmode=require"
        );
    }

    #[test]
    fn debug_hides_the_password() {
        let url: PostgresUrl = "postgres://admin:secret@localhost/app".parse().unwrap();
        assert_eq!(format!("{url:?}"), "postgres://admin@localhost/app");
    }

    #[test]
    fn errors_do_not_repeat_the_url() {
        let error = "mysql://a:secret@b/c".parse::<PostgresUrl>().unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }
}
