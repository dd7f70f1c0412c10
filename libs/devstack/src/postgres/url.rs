use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use crate::error::Error;

/// A `postgres://` URL. `Debug` hides the password; only [`PostgresUrl::reveal`] shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    user: String,
    /// Percent-encoded, as in the URL.
    password: Option<String>,
    /// Host and port.
    host: String,
    database: String,
    /// The query, without the question mark.
    parameters: Option<String>,
}

impl PostgresUrl {
    pub(crate) fn local(user: &str, password: &str, port: u16, database: &str) -> Self {
        Self {
            user: user.to_owned(),
            password: Some(password.to_owned()),
            host: format!("127.0.0.1:{port}"),
            database: database.to_owned(),
            parameters: None,
        }
    }

    /// Host and port, which may be printed.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn database(&self) -> &str {
        &self.database
    }

    #[must_use]
    pub fn with_database(&self, database: &str) -> Self {
        Self {
            database: database.to_owned(),
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
        self.format(self.password.as_deref())
    }

    /// The URL without its password.
    pub fn without_password(&self) -> String {
        self.format(None)
    }

    pub(crate) fn password(&self) -> Option<String> {
        let decode = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
        self.password.as_deref().map(decode)
    }

    fn format(&self, password: Option<&str>) -> String {
        let secret = password
            .map(|password| format!(":{password}"))
            .unwrap_or_default();
        let at = if self.user.is_empty() { "" } else { "@" };
        let parameters = self
            .parameters
            .as_ref()
            .map(|parameters| format!("?{parameters}"))
            .unwrap_or_default();
        format!(
            "postgres://{}{secret}{at}{}/{}{parameters}",
            self.user, self.host, self.database
        )
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.without_password())
    }
}

impl FromStr for PostgresUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        // The text may contain a password, so the message does not repeat it.
        let refused = || Error::other("a Postgres URL looks like postgres://user@host:5432/name");
        let rest = text
            .trim()
            .strip_prefix("postgres://")
            .or_else(|| text.trim().strip_prefix("postgresql://"))
            .ok_or_else(refused)?;
        let (rest, parameters) = match rest.split_once('?') {
            Some((rest, parameters)) => (rest, Some(parameters.to_owned())),
            None => (rest, None),
        };
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password.to_owned())),
            None => (login, None),
        };
        if host.is_empty() && parameters.is_none() {
            return Err(refused());
        }
        Ok(Self {
            user: user.to_owned(),
            password,
            host: host.to_owned(),
            database: if database.is_empty() {
                "postgres"
            } else {
                database
            }
            .to_owned(),
            parameters,
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
