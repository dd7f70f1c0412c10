//! Cursors: where a link is in an order, as an opaque string.
//!
//! A cursor holds the value of the link in the order, its id, and the order itself. It
//! is neither signed nor encrypted: a forged cursor only selects another slice of links that the
//! client can read anyway. Its types are checked, because Postgres fails to compare unlike ones.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use quartet_common::problem::{Problem, Rule};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    domain::values::times,
    graphql::error::invalid_argument,
    store::{
        link_filters::Column,
        link_lists::{Cursor, Key, Order},
        links::LinkRow,
    },
};

/// A title has at most 800 bytes; longer strings cannot be cursors.
const MAX_BYTES: usize = 4096;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EncodedCursor {
    #[serde(rename = "o")]
    order: String,
    #[serde(rename = "k")]
    keys: [Key; 1],
    #[serde(rename = "i")]
    id: Uuid,
}

/// The cursor of a link.
pub(super) fn encode(order: Order, link: &LinkRow) -> String {
    let cursor = EncodedCursor {
        order: signature(order),
        keys: [key(order, link)],
        id: link.id.uuid(),
    };
    let json = serde_json::to_string(&cursor).expect("a cursor is plain data");
    URL_SAFE_NO_PAD.encode(json)
}

/// # Errors
/// `INVALID_INPUT` with the pointer: not a cursor, or one of another order.
pub(super) fn decode(text: &str, order: Order, pointer: &str) -> Result<Cursor, Problem> {
    let invalid = |code, detail| invalid_argument(pointer, Rule::new(code, detail));
    let not_a_cursor = || invalid("invalid_cursor", "must be a cursor of this list");
    if text.len() > MAX_BYTES {
        return Err(not_a_cursor());
    }
    let json = URL_SAFE_NO_PAD.decode(text).map_err(|_| not_a_cursor())?;
    let cursor: EncodedCursor = serde_json::from_slice(&json).map_err(|_| not_a_cursor())?;
    if cursor.order != signature(order) {
        let detail = "must be a cursor of a list with the same orderBy";
        return Err(invalid("other_order", detail));
    }
    let [key] = cursor.keys;
    if !fits(order, &key) {
        return Err(not_a_cursor());
    }
    Ok(Cursor {
        key,
        id: cursor.id.into(),
    })
}

fn key(order: Order, link: &LinkRow) -> Key {
    let time = |at: Option<_>| at.map_or(Key::Null, Key::Time);
    let text = |text: Option<&String>| text.map_or(Key::Null, |text| Key::Text(text.clone()));
    match order.column {
        Column::UpdatedAt => time(Some(link.updated_at)),
        Column::ExpiresAt => time(link.expires_at),
        Column::Slug => text(Some(&link.slug)),
        Column::Title => text(link.title.as_ref()),
        Column::TotalClicks => Key::Number(link.people + link.bots),
        _ => time(Some(link.created_at)),
    }
}

/// Whether a key has the type of the column.
fn fits(order: Order, key: &Key) -> bool {
    match (order.column, key) {
        (Column::Title | Column::ExpiresAt, Key::Null) | (Column::TotalClicks, Key::Number(_)) => {
            true
        }
        (Column::Slug | Column::Title, Key::Text(text)) => !text.contains('\0'),
        (Column::CreatedAt | Column::UpdatedAt | Column::ExpiresAt, Key::Time(at)) => {
            times::bounded(*at).is_ok()
        }
        _ => false,
    }
}

fn signature(order: Order) -> String {
    let direction = if order.descending { '-' } else { '+' };
    let nulls = if order.nulls_first { '<' } else { '>' };
    format!("{direction}{:?}{nulls}", order.column)
}
