//! What an issuer has signed beside access tokens: ID tokens and logout tokens.

use serde_json::{Map, Value};

use super::{JwtError, JwtVerifier, read_header};

/// The claims of a token whose signature, issuer, audience and times are right. What it is for is up to the
/// caller: none of these may count as an access token.
#[derive(Clone, Debug)]
pub struct Statement(pub Map<String, Value>);

impl Statement {
    /// A text that is not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        let text = self.0.get(name)?.as_str();
        text.filter(|text| !text.is_empty())
    }

    /// Seconds since 1970, without their fraction.
    pub fn time(&self, name: &str) -> Option<i64> {
        let number = self.0.get(name)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "saturates: a time that far away is never reached"
        )]
        let rounded = |seconds: f64| seconds.floor() as i64;
        number.as_i64().or_else(|| number.as_f64().map(rounded))
    }
}

impl JwtVerifier {
    /// Verifies a token that is none for requests. Nothing is cached. Without `needs_expiry`, `exp` may be
    /// missing, as it is in the logout tokens of some issuers; one that is there counts.
    ///
    /// # Errors
    /// [`JwtError`]. With `KeysUnavailable`, the token may be valid.
    pub async fn verify_statement(
        &self,
        token: &str,
        needs_expiry: bool,
    ) -> Result<Statement, JwtError> {
        let header = read_header(token)?;
        let key = self.key_for(&header).await?;
        let mut rules = self.validation(&key);
        if !needs_expiry {
            rules.required_spec_claims.remove("exp");
        }
        let claims = jsonwebtoken::decode::<Map<String, Value>>(token, &key.key, &rules)?.claims;
        let statement = Statement(claims);
        match statement.time("exp") {
            Some(exp) => self.check_expiry(exp)?,
            None if needs_expiry || statement.0.contains_key("exp") => {
                return Err(JwtError::Malformed);
            }
            None => {}
        }
        self.check_start(statement.time("nbf"))?;
        Ok(statement)
    }
}
