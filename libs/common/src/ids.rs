//! The wire form of identifiers: `prefix_` and 26 characters.
//!
//! The form is that of TypeID 0.3: the prefix, an underscore, and the UUID in
//! Crockford's base 32, lower case, so that ids sort by time as text too.

use uuid::Uuid;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const LENGTH: usize = 26;

/// The 26 characters of a UUID, most significant first.
pub fn encode(uuid: Uuid) -> String {
    let value = uuid.as_u128();
    (0..LENGTH)
        .map(|place| {
            let shift = 5 * (LENGTH - 1 - place);
            char::from(ALPHABET[usize::try_from((value >> shift) & 31).unwrap_or(0)])
        })
        .collect()
}

/// The UUID of 26 characters, or `None`. Accepts the canonical form only: lower case, without the
/// look-alikes of Crockford's alphabet, so that one id has one text.
pub fn decode(text: &str) -> Option<Uuid> {
    if text.len() != LENGTH || text.as_bytes()[0] > b'7' {
        return None;
    }
    text.bytes()
        .try_fold(0_u128, |value, letter| {
            let digit = ALPHABET.iter().position(|known| *known == letter)?;
            Some((value << 5) | u128::try_from(digit).ok()?)
        })
        .map(Uuid::from_u128)
}

/// A text is not an id of the expected kind.
#[derive(Clone, Debug, thiserror::Error)]
#[error("must be {prefix}_ followed by 26 lower-case letters and digits")]
pub struct InvalidId {
    pub prefix: &'static str,
}

/// The OpenAPI schema of an id with this prefix.
pub fn schema(prefix: &str) -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
    utoipa::openapi::schema::ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::Type::String)
        .pattern(Some(format!("^{prefix}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$")))
        .examples([format!("{prefix}_01jd6x8rv3fq4t2m8n5k7c9e1z")])
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_round_trip_and_only_the_canonical_form_decodes() {
        for value in [0, 1, u128::MAX, 0x0190_1234_5678_7abc_8def_0123_4567_89ab] {
            let uuid = Uuid::from_u128(value);
            assert_eq!(decode(&encode(uuid)), Some(uuid));
        }
        let good = encode(Uuid::from_u128(77));
        assert_eq!(decode(&good.to_uppercase().replace('0', "O")), None);
        assert_eq!(
            decode("80000000000000000000000000"),
            None,
            "130 bits do not fit"
        );
        assert_eq!(decode(""), None);
        assert_eq!(decode("ü0000000000000000000000000"), None);
    }

    #[test]
    fn text_sorts_like_the_uuid() {
        let (a, b) = (Uuid::from_u128(1 << 90), Uuid::from_u128(1 << 91));
        assert!(encode(a) < encode(b));
    }
}
