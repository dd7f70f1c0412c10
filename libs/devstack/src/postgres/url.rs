use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// A `postgres://` address. `Debug` hides the password; only [`PostgresUrl::reveal`] shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    user: String,
    /// Percent-encoded, as it stood in the address.
    password: Option<String>,
    /// Host and port.
    host: String,
    database: String,
    /// What follows the question mark.
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

    /// Host and port: the part that may be printed.
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

    /// The same server for another user. Both must need no percent-encoding.
    #[must_use]
    pub fn with_user(&self, user: &str, password: &str) -> Self {
        Self {
            user: user.to_owned(),
            password: Some(password.to_owned()),
            ..self.clone()
        }
    }

    /// The whole address with its password. Never print it.
    pub fn reveal(&self) -> String {
        self.format(self.password.as_deref())
    }

    /// The address without its password.
    pub fn without_password(&self) -> String {
        self.format(None)
    }

    pub(crate) fn password(&self) -> Option<String> {
        self.password.as_deref().map(percent_decode)
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
        // The text may hold a password, so the message does not repeat it.
        let refused =
            || Error::other("a Postgres address looks like postgres://user@host:5432/name");
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

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail
            .get(..2)
            .filter(|_| first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
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
    fn a_refusal_does_not_repeat_the_address() {
        let error = "mysql://a:secret@b/c".parse::<PostgresUrl>().unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }
}
