//! Pages of a list: `?limit=20&cursor=...` returns `{data, next_cursor, has_more}`.
//!
//! A cursor is the position of the last item of a page (keyset pagination): inserting or
//! deleting items between requests neither repeats nor hides others. It carries the name of its
//! list, so that a cursor of another list is rejected instead of misread.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use utoipa::{IntoParams, ToSchema};

use crate::problem::Problem;

pub const DEFAULT_LIMIT: u32 = 20;
pub const MAX_LIMIT: u32 = 100;
/// No cursor is longer.
const MAX_CURSOR_BYTES: usize = 512;

/// The query parameters of every list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Items per page, 1 to 100. Other values are clamped.
    #[serde(default, deserialize_with = "any_limit")]
    #[param(value_type = Option<i32>, default = 20)]
    pub limit: Option<u32>,
    /// `next_cursor` of the previous page.
    #[param(
        min_length = 1,
        max_length = 512,
        example = "WyJzZXNzaW9ucyIsInNlc18wMWpkNng4cnYzZnE0dDJtOG41azdjOWUxeiJd"
    )]
    pub cursor: Option<String>,
}

/// One page of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub data: Vec<T>,
    /// The `cursor` of the next page; null on the last page.
    #[schema(max_length = 512)]
    pub next_cursor: Option<String>,
    /// Whether there is a next page.
    pub has_more: bool,
}

impl PageQuery {
    pub fn limit(&self) -> u32 {
        clamp(self.limit)
    }

    /// # Errors
    /// 400 `invalid_parameter` for `cursor` if it is not a cursor of this list.
    pub fn after<C: DeserializeOwned>(&self, kind: &str) -> Result<Option<C>, Problem> {
        self.cursor
            .as_deref()
            .map(|cursor| decode_cursor(kind, cursor))
            .transpose()
    }
}

/// Reads an integer of a query string. A negative one becomes 0, which [`clamp`] raises to 1.
///
/// # Errors
/// When the text is not a 32-bit integer.
pub fn any_limit<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    let limit = i32::deserialize(from).map_err(|_| {
        let rule = format!("must be an integer from 1 to {MAX_LIMIT}");
        serde::de::Error::custom(rule)
    })?;
    Ok(Some(u32::try_from(limit).unwrap_or(0)))
}

/// A limit within its bounds, or the default.
pub fn clamp(limit: Option<u32>) -> u32 {
    limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT)
}

impl<T> Page<T> {
    /// A page of `limit` items from up to `limit + 1` rows; the extra row proves that there are more.
    pub fn from_rows<C: Serialize>(
        mut rows: Vec<T>,
        limit: u32,
        kind: &str,
        cursor_of: impl Fn(&T) -> C,
    ) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows
            .last()
            .filter(|_| has_more)
            .map(|last| encode_cursor(kind, &cursor_of(last)));
        Self {
            data: rows,
            next_cursor,
            has_more,
        }
    }

    pub fn map<U>(self, to: impl FnMut(T) -> U) -> Page<U> {
        Page {
            data: self.data.into_iter().map(to).collect(),
            next_cursor: self.next_cursor,
            has_more: self.has_more,
        }
    }
}

/// Encodes a position; `kind` is the name of the list.
pub fn encode_cursor<C: Serialize>(kind: &str, position: &C) -> String {
    let text = serde_json::to_string(&(kind, position))
        .expect("a position is plain data with string keys");
    URL_SAFE_NO_PAD.encode(text)
}

/// # Errors
/// 400 `invalid_parameter` naming `cursor`.
pub fn decode_cursor<C: DeserializeOwned>(kind: &str, cursor: &str) -> Result<C, Problem> {
    let wrong = || {
        Problem::invalid_parameter(
            "cursor",
            "invalid_cursor",
            "must be the next_cursor of a page of this list",
        )
    };
    if cursor.len() > MAX_CURSOR_BYTES {
        return Err(wrong());
    }
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| wrong())?;
    let (found, position): (String, C) = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
    if found == kind {
        Ok(position)
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extra_row_sets_has_more_and_next_cursor() {
        let page = Page::from_rows(vec![1, 2, 3], 2, "numbers", |n| *n);
        assert_eq!(page.data, [1, 2]);
        assert!(page.has_more);
        let cursor = page.next_cursor.unwrap();
        assert_eq!(decode_cursor::<i32>("numbers", &cursor).unwrap(), 2);
        assert_eq!(
            decode_cursor::<i32>("letters", &cursor)
                .unwrap_err()
                .kind
                .code,
            "invalid_parameter"
        );
    }

    #[test]
    fn the_last_page_has_no_cursor() {
        let page = Page::from_rows(vec![1, 2], 2, "numbers", |n| *n);
        assert!(!page.has_more && page.next_cursor.is_none());
    }

    #[test]
    fn integers_are_clamped_to_the_limits() {
        let read =
            |query: &str| serde_urlencoded::from_str::<PageQuery>(query).map(|query| query.limit());
        for (text, limit) in [
            ("", 20),
            ("limit=7", 7),
            ("limit=0", 1),
            ("limit=-3", 1),
            ("limit=101", 100),
            ("limit=2147483647", 100),
            ("limit=-2147483648", 1),
        ] {
            assert_eq!(read(text).unwrap(), limit, "{text}");
        }
        for text in [
            "limit=",
            "limit=-",
            "limit=1.5",
            "limit=ten",
            "limit=2147483648",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn invalid_cursors_are_rejected() {
        for text in ["", "!", "AAAA", &"A".repeat(5000)] {
            assert!(decode_cursor::<i32>("numbers", text).is_err(), "{text}");
        }
    }
}
