//! What a token says. Only the claims that something here reads are kept.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Number;

use super::{JwtError, mapped::MappedClaims};

const MAX_TEXT_BYTES: usize = 255;
const MAX_SCOPE_BYTES: usize = 4096;
const MAX_METHODS: usize = 16;
const MAX_METHOD_BYTES: usize = 64;

/// The claims of a verified token, within bounds. Unknown ones are ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// The subject, such as `usr_...`.
    pub sub: String,
    #[serde(deserialize_with = "numeric_date")]
    pub exp: i64,
    #[serde(
        default,
        deserialize_with = "optional_numeric_date",
        skip_serializing_if = "Option::is_none"
    )]
    pub nbf: Option<i64>,
    #[serde(
        default,
        deserialize_with = "optional_numeric_date",
        skip_serializing_if = "Option::is_none"
    )]
    pub iat: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// The session of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The OAuth client that got the token (RFC 9068, 2.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The same, as OpenID Connect calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azp: Option<String>,
    /// What the token permits, as names with spaces between them (RFC 8693, 4.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Class, methods and time of the authentication (RFC 9068, 2.2.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    #[serde(
        default,
        deserialize_with = "optional_numeric_date",
        skip_serializing_if = "Option::is_none"
    )]
    pub auth_time: Option<i64>,
    /// What the settings of the issuer say of further claims.
    #[serde(skip)]
    pub mapped: MappedClaims,
}

impl Claims {
    /// # Errors
    /// `Malformed` when a claim is too long. It is refused rather than cut: half a scope would be
    /// another one. `UnusableSubject` for a subject or session that no header can name as it is.
    pub(super) fn check(&self) -> Result<(), JwtError> {
        if !(is_name(&self.sub) && self.sid.as_deref().is_none_or(is_name)) {
            return Err(JwtError::UnusableSubject);
        }
        let texts = [&self.sid, &self.client_id, &self.azp, &self.acr];
        let mut texts = texts.into_iter().flatten().chain([&self.sub]);
        let scope_bytes = self.scope.as_ref().map_or(0, String::len);
        let fits = texts.all(|text| text.len() <= MAX_TEXT_BYTES)
            && scope_bytes <= MAX_SCOPE_BYTES
            && self.amr.len() <= MAX_METHODS
            && self
                .amr
                .iter()
                .all(|method| method.len() <= MAX_METHOD_BYTES);
        fits.then_some(()).ok_or(JwtError::Malformed)
    }

    /// Whether the token has this scope by name.
    pub fn has_scope(&self, name: &str) -> bool {
        if let Some(scopes) = &self.mapped.scopes {
            return scopes.iter().any(|scope| scope == name);
        }
        let scope = self.scope.as_deref().unwrap_or_default();
        scope.split_ascii_whitespace().any(|scope| scope == name)
    }

    pub fn has_role(&self, name: &str) -> bool {
        self.mapped.roles.iter().any(|role| role == name)
    }
}

/// Whether every server reads the same from a header with this value. One would drop control
/// characters, cut spaces at the ends, or read other than ASCII in another way, and the request would
/// have no user, or another one.
fn is_name(text: &str) -> bool {
    let is_visible = |byte: u8| (b' '..=b'~').contains(&byte);
    !text.is_empty() && text.trim_ascii() == text && text.bytes().all(is_visible)
}

/// Seconds since 1970, which may have a fraction (RFC 7519, 2: `NumericDate`). It is dropped.
struct NumericDate(i64);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = Number::deserialize(from)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "saturates: a time that far away is never reached"
        )]
        let seconds = number
            .as_i64()
            .or_else(|| number.as_f64().map(|seconds| seconds.floor() as i64));
        seconds
            .map(Self)
            .ok_or_else(|| D::Error::custom("not a time"))
    }
}

fn numeric_date<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    NumericDate::deserialize(from).map(|date| date.0)
}

fn optional_numeric_date<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    Option::<NumericDate>::deserialize(from).map(|date| date.map(|date| date.0))
}
