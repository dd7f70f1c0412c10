//! Lists of links with any filter and one of the offered orders, in slices bounded by cursors (keyset
//! pagination).
//!
//! A cursor holds a link's key in the order and its id, and a page begins at `(key, id) > (..., ...)`.
//! Each order has an index on the owner, the key and the id, in which Postgres finds that row without
//! reading those before it. Rows that are inserted or deleted between two requests never shift a page,
//! which an offset would.
//!
//! A comparison of rows is null where a value is, so that the key of a column that may be null is two
//! values: whether it is null, and the value or a substitute. The substitute is written as CASE:
//! behind row-level security, Postgres uses no index for `coalesce`, which it does not know to be
//! free of side channels.
//!
//! The statements are assembled from constants, so the compiler cannot check them; the tests run
//! every order, column and comparison. They are not kept as prepared statements: there are too many.

use chrono::{DateTime, Utc};
use quartet_common::principal::Principal;
use quartet_db::statement;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Postgres, QueryBuilder};

use super::{
    link_filters::{Column, Filter, Value, push_value},
    links::{LinkId, LinkRow, link_columns},
};

const TITLE: &str = "(CASE WHEN l.title IS NULL THEN '' ELSE l.title END)";
const EXPIRES_AT: &str = "(CASE WHEN l.expires_at IS NULL THEN 'infinity' ELSE l.expires_at END)";

/// An order. Links with the same value are ordered by id, in the same direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) column: Column,
    pub(crate) descending: bool,
    pub(crate) nulls_first: bool,
}

/// A link's value in the column of an order.
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

/// The position of a link in an order: its key, and its id to break ties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) key: Key,
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
    owner: &Principal,
    filter: &Filter,
    order: Order,
    slice: &Slice,
) -> Result<Vec<LinkRow>, sqlx::Error> {
    let mut query = QueryBuilder::new(link_columns!(concat!()));
    push_where(&mut query, order.source(), owner, filter);
    let reversed = order.reversed();
    if let Some(cursor) = &slice.after {
        order.push_after(&mut query, cursor);
    }
    if let Some(cursor) = &slice.before {
        reversed.push_after(&mut query, cursor);
    }
    let direction = if slice.from_end { reversed } else { order };
    direction.push_order(&mut query);
    query.push(" LIMIT ").push_bind(i64::from(slice.limit));
    let query = query.build_query_as().persistent(false);
    let mut rows: Vec<LinkRow> = statement("links.list", query.fetch_all(db)).await?;
    if slice.from_end {
        rows.reverse();
    }
    Ok(rows)
}

/// The number of links on all pages.
pub(crate) async fn count(
    db: &mut PgConnection,
    owner: &Principal,
    filter: &Filter,
) -> Result<i64, sqlx::Error> {
    let mut query = QueryBuilder::new("SELECT count(*)");
    push_where(&mut query, OrderTable::Links, owner, filter);
    let query = query.build_query_scalar().persistent(false);
    statement("links.count", query.fetch_one(db)).await
}

/// The table whose index gives the order. The other one is joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OrderTable {
    Links,
    Totals,
}

impl OrderTable {
    fn sql(self) -> &'static str {
        match self {
            Self::Links => {
                " FROM links.links AS l LEFT JOIN links.click_totals AS t ON t.link_id = l.id \
                 WHERE l.owner = "
            }
            Self::Totals => {
                " FROM links.click_totals AS t JOIN links.links AS l ON l.id = t.link_id \
                 WHERE t.owner = "
            }
        }
    }

    fn id(self) -> &'static str {
        match self {
            Self::Links => "l.id",
            Self::Totals => "t.link_id",
        }
    }
}

impl Order {
    fn reversed(self) -> Self {
        Self {
            descending: !self.descending,
            nulls_first: !self.nulls_first,
            ..self
        }
    }

    fn source(self) -> OrderTable {
        match self.column {
            Column::TotalClicks => OrderTable::Totals,
            _ => OrderTable::Links,
        }
    }

    /// The columns of the index after the owner and before the id.
    fn keys(self) -> &'static [&'static str] {
        // As if ascending: whether nulls come after all values.
        let nulls_high = self.descending == self.nulls_first;
        match (self.column, nulls_high) {
            (Column::Title, true) => &["(l.title IS NULL)", TITLE],
            (Column::Title, false) => &["(l.title IS NOT NULL)", TITLE],
            (Column::ExpiresAt, true) => &["(l.expires_at IS NULL)", EXPIRES_AT],
            (Column::ExpiresAt, false) => &["(l.expires_at IS NOT NULL)", EXPIRES_AT],
            (Column::Slug, _) => &["l.slug"],
            (Column::UpdatedAt, _) => &["l.updated_at"],
            (Column::TotalClicks, _) => &["t.total"],
            _ => &["l.created_at"],
        }
    }

    /// Restricts the query to links after a cursor.
    fn push_after(self, query: &mut QueryBuilder<Postgres>, cursor: &Cursor) {
        let keys = self.keys();
        let comparison = if self.descending { " < " } else { " > " };
        query.push(" AND (").push(keys.join(", ")).push(", ");
        query
            .push(self.source().id())
            .push(")")
            .push(comparison)
            .push("(");
        let value = cursor.key.value();
        if keys.len() > 1 {
            let is_null = value.is_none();
            let nulls_high = self.descending == self.nulls_first;
            query.push_bind(is_null == nulls_high).push(", ");
        }
        match value {
            Some(value) => push_value(query, &value),
            None => drop(query.push(self.substitute())),
        }
        query.push(", ").push_bind(cursor.id).push(")");
    }

    fn push_order(self, query: &mut QueryBuilder<Postgres>) {
        let direction = if self.descending { " DESC" } else { " ASC" };
        query.push(" ORDER BY ");
        for key in self.keys() {
            query.push(*key).push(direction).push(", ");
        }
        query.push(self.source().id()).push(direction);
    }

    /// What stands for null in the key.
    fn substitute(self) -> &'static str {
        match self.column {
            Column::ExpiresAt => "'infinity'::timestamptz",
            _ => "''",
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

fn push_where(
    query: &mut QueryBuilder<Postgres>,
    source: OrderTable,
    owner: &Principal,
    filter: &Filter,
) {
    query
        .push(source.sql())
        .push_bind(owner.as_str().to_owned())
        .push(" AND ");
    filter.push(query);
}

#[cfg(test)]
mod tests {
    use quartet_testing::TestDatabase;
    use sqlx::Connection as _;

    use super::*;

    /// Each kept statement takes memory of its session in Postgres, and filters differ without an end.
    #[tokio::test]
    async fn assembled_statements_are_not_kept() {
        let database = TestDatabase::create("links", &crate::MIGRATOR).await;
        let mut db = database.connect_as_role().await;
        let owner = Principal::parse("usr_a").unwrap();
        let order = Order {
            column: Column::CreatedAt,
            descending: true,
            nulls_first: true,
        };
        let slice = Slice {
            after: None,
            before: None,
            from_end: false,
            limit: 1,
        };
        for filters in 0..3 {
            let filter = Filter::All(vec![Filter::All(Vec::new()); filters]);
            let rows = list(&mut db, &owner, &filter, order, &slice).await.unwrap();
            assert!(rows.is_empty());
            assert_eq!(count(&mut db, &owner, &filter).await.unwrap(), 0);
        }
        assert_eq!(db.cached_statements_size(), 0);
    }
}
