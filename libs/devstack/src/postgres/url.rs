use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result, ensure};
use percent_encoding::percent_decode_str;

/// A `postgres://` URL. `Debug` hides the password; only [`PostgresUrl::reveal`] shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    user: String,
    /// Percent-encoded, as in the URL.
    password: Option<String>,
    /// Host and port.
    host: String,
    database: String,
    /// The query, with the question mark.
    parameters: String,
}

impl PostgresUrl {
    /// Host and port, which may be printed.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn database(&self) -> &str {
        &self.database
    }

    #[must_use]
    pub fn with_database(&self, database: &str) -> Self {
        let database = database.to_owned();
        Self {
            database,
            ..self.clone()
        }
    }

    /// The same server as another user. Name and password must need no percent-encoding.
    #[must_use]
    pub fn with_user(&self, user: &str, password: &str) -> Self {
        Self {
            user: user.to_owned(),
            password: Some(password.to_owned()),
            ..self.clone()
        }
    }

    /// The URL with its password. Never print it.
    pub fn reveal(&self) -> String {
        let password = self.password.as_ref();
        self.format(&password.map(|it| format!(":{it}")).unwrap_or_default())
    }

    /// The URL without its password.
    pub fn without_password(&self) -> String {
        self.format("")
    }

    pub(crate) fn password(&self) -> Option<String> {
        let decode = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
        self.password.as_deref().map(decode)
    }

    fn format(&self, password: &str) -> String {
        let at = if self.user.is_empty() { "" } else { "@" };
        let (user, host, database) = (&self.user, &self.host, &self.database);
        format!(
            "postgres://{user}{password}{at}{host}/{database}{}",
            self.parameters
        )
    }
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
        let (scheme, rest) = text.trim().split_once("://").context(FORM)?;
        ensure!(["postgres", "postgresql"].contains(&scheme), FORM);
        let (rest, parameters) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password.to_owned())),
            None => (login, None),
        };
        ensure!(!host.is_empty() || !parameters.is_empty(), FORM);
        let database = if database.is_empty() {
            "postgres"
        } else {
            database
        };
        Ok(Self {
            user: user.to_owned(),
            password,
            host: host.to_owned(),
            database: database.to_owned(),
            parameters: parameters.to_owned(),
        })
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
