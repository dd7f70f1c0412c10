//! Lists of links with any filter and order, in slices bounded by cursors (keyset pagination).
//!
//! A cursor holds a link's keys, one per term of the order, and its id. `push_after` turns it into
//! "greater in the first term that differs, else a later id", in the order's own directions and
//! placement of nulls. Rows that are inserted or deleted between two requests therefore never shift
//! a page, which an offset would.
//!
//! The statements are assembled from constants, so the compiler cannot check them; the tests run
//! every column and comparison.

use chrono::{DateTime, Utc};
use quartet_db::statement;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Postgres, QueryBuilder};

use super::{
    link_filters::{Column, Filter, Value, push_value},
    links::{LinkId, LinkRow},
};

const FROM: &str =
    " FROM links.links AS l LEFT JOIN links.click_totals AS t ON t.link_id = l.id WHERE l.owner = ";

/// One term of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Term {
    pub(crate) column: Column,
    pub(crate) descending: bool,
    pub(crate) nulls_first: bool,
}

/// A link's value in the column of a term.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Key {
    #[serde(rename = "s")]
    Text(String),
    #[serde(rename = "n")]
    Number(i64),
    #[serde(rename = "t")]
    Time(DateTime<Utc>),
    #[serde(rename = "x")]
    Null,
}

/// The position of a link in an order: its keys, and its id to break ties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) keys: Vec<Key>,
    pub(crate) id: LinkId,
}

/// A slice of a list. Both bounds are exclusive.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    pub(crate) after: Option<Cursor>,
    pub(crate) before: Option<Cursor>,
    /// Take the last `limit` links of the slice instead of the first.
    pub(crate) from_end: bool,
    pub(crate) limit: u32,
}

/// The links of a slice, in order.
pub(crate) async fn list(
    db: &mut PgConnection,
    owner: &str,
    filter: &Filter,
    order: &[Term],
    slice: &Slice,
) -> Result<Vec<LinkRow>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "SELECT l.id, l.slug, l.url, l.title, l.enabled, l.redirect_status, l.expires_at, \
         l.max_clicks, l.uses, l.created_at, l.updated_at, coalesce(t.people, 0) AS people, \
         coalesce(t.uniques, 0) AS uniques, coalesce(t.bots, 0) AS bots, t.last_at AS last_click_at",
    );
    push_where(&mut query, owner, filter);
    let reversed: Vec<Term> = order.iter().copied().map(Term::reversed).collect();
    if let Some(cursor) = &slice.after {
        push_after(&mut query, order, cursor);
    }
    if let Some(cursor) = &slice.before {
        push_after(&mut query, &reversed, cursor);
    }
    push_order(&mut query, if slice.from_end { &reversed } else { order });
    query.push(" LIMIT ").push_bind(i64::from(slice.limit));
    let mut rows: Vec<LinkRow> =
        statement("links.list", query.build_query_as().fetch_all(db)).await?;
    if slice.from_end {
        rows.reverse();
    }
    Ok(rows)
}

/// The number of links on all pages.
pub(crate) async fn count(
    db: &mut PgConnection,
    owner: &str,
    filter: &Filter,
) -> Result<i64, sqlx::Error> {
    let mut query = QueryBuilder::new("SELECT count(*)");
    push_where(&mut query, owner, filter);
    statement("links.count", query.build_query_scalar().fetch_one(db)).await
}

impl Term {
    fn reversed(self) -> Self {
        Self {
            descending: !self.descending,
            nulls_first: !self.nulls_first,
            ..self
        }
    }

    fn push_equal(self, query: &mut QueryBuilder<Postgres>, key: &Key) {
        query.push(self.column.sql());
        match key.value() {
            Some(value) => push_value(query.push(" = "), &value),
            None => drop(query.push(" IS NULL")),
        }
    }

    fn push_after(self, query: &mut QueryBuilder<Postgres>, key: &Key) {
        let column = self.column.sql();
        match key.value() {
            Some(value) => {
                query
                    .push("(")
                    .push(column)
                    .push(if self.descending { " < " } else { " > " });
                push_value(query, &value);
                if !self.nulls_first {
                    query.push(" OR ").push(column).push(" IS NULL");
                }
                query.push(")");
            }
            None if self.nulls_first => drop(query.push(column).push(" IS NOT NULL")),
            None => drop(query.push("false")),
        }
    }
}

impl Key {
    fn value(&self) -> Option<Value> {
        match self {
            Self::Text(text) => Some(Value::Text(text.clone())),
            Self::Number(number) => Some(Value::Number(*number)),
            Self::Time(time) => Some(Value::Time(*time)),
            Self::Null => None,
        }
    }
}

fn push_where(query: &mut QueryBuilder<Postgres>, owner: &str, filter: &Filter) {
    query.push(FROM).push_bind(owner.to_owned()).push(" AND ");
    filter.push(query);
}

/// Restricts the query to links after a cursor: after it in the first term in which they differ.
fn push_after(query: &mut QueryBuilder<Postgres>, order: &[Term], cursor: &Cursor) {
    query.push(" AND (");
    for (index, (term, key)) in order.iter().zip(&cursor.keys).enumerate() {
        for (equal, key) in order.iter().zip(&cursor.keys).take(index) {
            equal.push_equal(query, key);
            query.push(" AND ");
        }
        term.push_after(query, key);
        query.push(" OR ");
    }
    for (term, key) in order.iter().zip(&cursor.keys) {
        term.push_equal(query, key);
        query.push(" AND ");
    }
    query.push(if ids_descend(order) {
        "l.id < "
    } else {
        "l.id > "
    });
    query.push_bind(cursor.id).push(")");
}

fn push_order(query: &mut QueryBuilder<Postgres>, order: &[Term]) {
    query.push(" ORDER BY ");
    for term in order {
        query
            .push(term.column.sql())
            .push(if term.descending { " DESC" } else { " ASC" })
            .push(if term.nulls_first {
                " NULLS FIRST, "
            } else {
                " NULLS LAST, "
            });
    }
    query.push(if ids_descend(order) {
        "l.id DESC"
    } else {
        "l.id ASC"
    });
}

/// Ids follow the direction of the last term, so that the index on (owner, `created_at`, id) is used.
fn ids_descend(order: &[Term]) -> bool {
    order.last().is_some_and(|term| term.descending)
}
