//! Where an issuer puts subject, roles and scopes, and what else of its tokens is kept.
//!
//! Everything is read once, when a token is verified, and cached with it.

use serde_json::{Map, Value};

use super::{
    JwtError,
    claims::Claims,
    hasura,
    header_text::header_text,
    mapped::{KeptClaim, MappedClaims},
    path::ClaimPath,
};

/// Where the claims of an issuer are. By default, where RFC 9068 has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimMapping {
    /// In place of `sub`.
    pub subject: Option<ClaimPath>,
    /// Before the subject, so that users of two issuers differ.
    pub subject_prefix: String,
    /// Prefixes of other issuers: no subject may look as if it were theirs.
    pub reserved_prefixes: Vec<String>,
    /// Lists of roles, or roles with spaces between them.
    pub roles: Vec<ClaimPath>,
    /// In place of `scope`; of the same forms.
    pub scopes: Vec<ClaimPath>,
    /// The object with `x-hasura-*`.
    pub hasura: Option<ClaimPath>,
    /// Further claims to keep.
    pub kept: Vec<ClaimPath>,
}

impl ClaimMapping {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The claims of a verified token.
    ///
    /// # Errors
    /// `Malformed` when a claim that has to be known is missing or of another type;
    /// `UnusableSubject` when the subject looks like that of another issuer.
    pub(super) fn read(&self, mut payload: Map<String, Value>) -> Result<Claims, JwtError> {
        let subject = match &self.subject {
            None => payload.get("sub"),
            Some(path) => path.find(&payload),
        };
        let subject = subject.and_then(Value::as_str).ok_or(JwtError::Malformed)?;
        if subject.is_empty() {
            return Err(JwtError::UnusableSubject);
        }
        let subject = format!("{}{subject}", self.subject_prefix);
        let mut reserved = self.reserved_prefixes.iter();
        if reserved.any(|prefix| subject.starts_with(prefix.as_str())) {
            return Err(JwtError::UnusableSubject);
        }
        let mapped = self.map(&payload)?;
        payload.insert("sub".to_owned(), Value::String(subject));
        if payload.get("scope").is_some_and(|scope| !scope.is_string()) {
            // Some issuers have a list here, which was read above.
            payload.remove("scope");
        }
        let claims: Result<Claims, _> = serde_json::from_value(Value::Object(payload));
        let claims = claims.map_err(|_| JwtError::Malformed)?;
        Ok(Claims { mapped, ..claims })
    }

    fn map(&self, payload: &Map<String, Value>) -> Result<MappedClaims, JwtError> {
        let hasura = self.hasura.as_ref().and_then(|path| path.find(payload));
        let hasura = hasura.map(hasura::read).transpose()?;
        let mut roles = Vec::new();
        for path in &self.roles {
            collect(path.find(payload), &mut roles);
        }
        if self.roles.is_empty()
            && let Some(hasura) = &hasura
        {
            roles.clone_from(&hasura.allowed_roles);
        }
        let mut scopes = Vec::new();
        if self.scopes.is_empty() {
            collect(payload.get("scope"), &mut scopes);
        }
        for path in &self.scopes {
            collect(path.find(payload), &mut scopes);
        }
        let keep = |path: &ClaimPath| {
            let value = path.find(payload).filter(|value| !value.is_null())?;
            Some(KeptClaim {
                header: header_text(value),
                value: value.clone(),
            })
        };
        Ok(MappedClaims {
            scopes: Some(scopes),
            roles,
            hasura,
            kept: self.kept.iter().map(keep).collect(),
        })
    }
}

/// The names in a list, or in a text with spaces between them. Anything else names none.
fn collect(value: Option<&Value>, names: &mut Vec<String>) {
    match value {
        Some(Value::String(text)) => {
            names.extend(text.split_ascii_whitespace().map(str::to_owned));
        }
        Some(Value::Array(values)) => {
            let texts = values.iter().filter_map(Value::as_str);
            names.extend(texts.map(str::to_owned));
        }
        _ => {}
    }
}
