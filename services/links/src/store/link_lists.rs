//! Lists of links: any filter, any order, and pages that begin where a link stood.
//!
//! The statements are put together from fixed parts, so the compiler cannot check them;
//! the tests run every column and comparison.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{
    link_filters::{Column, Filter, Value, push_value},
    links::LinkRow,
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

/// What a link has in the column of a term.
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

/// Where a link stands in an order: its keys, and its id for those that are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) keys: Vec<Key>,
    pub(crate) id: Uuid,
}

/// A stretch of a list. Both places are left out.
#[derive(Clone, Debug)]
pub(crate) struct Stretch {
    pub(crate) after: Option<Place>,
    pub(crate) before: Option<Place>,
    /// Count from the end of the stretch instead of from its beginning.
    pub(crate) from_end: bool,
    pub(crate) limit: u32,
}

/// The links of a stretch, in order.
pub(crate) async fn list(
    connection: &mut PgConnection,
    owner: &str,
    filter: &Filter,
    order: &[Term],
    stretch: &Stretch,
) -> Result<Vec<LinkRow>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "SELECT l.id, l.slug, l.url, l.title, l.enabled, l.redirect_status, l.expires_at, \
         l.max_clicks, l.uses, l.created_at, l.updated_at, coalesce(t.people, 0) AS people, \
         coalesce(t.uniques, 0) AS uniques, coalesce(t.bots, 0) AS bots, t.last_at AS last_click_at",
    );
    push_where(&mut query, owner, filter);
    let reversed: Vec<Term> = order.iter().copied().map(Term::reversed).collect();
    if let Some(place) = &stretch.after {
        push_behind(&mut query, order, place);
    }
    if let Some(place) = &stretch.before {
        push_behind(&mut query, &reversed, place);
    }
    push_order(&mut query, if stretch.from_end { &reversed } else { order });
    query.push(" LIMIT ").push_bind(i64::from(stretch.limit));
    let mut rows: Vec<LinkRow> = query.build_query_as().fetch_all(connection).await?;
    if stretch.from_end {
        rows.reverse();
    }
    Ok(rows)
}

/// How many links there are, on all pages.
pub(crate) async fn count(
    connection: &mut PgConnection,
    owner: &str,
    filter: &Filter,
) -> Result<i64, sqlx::Error> {
    let mut query = QueryBuilder::new("SELECT count(*)");
    push_where(&mut query, owner, filter);
    query.build_query_scalar().fetch_one(connection).await
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

    fn push_behind(self, query: &mut QueryBuilder<Postgres>, key: &Key) {
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

/// Links that stand behind a place: behind it in the first term in which they differ.
fn push_behind(query: &mut QueryBuilder<Postgres>, order: &[Term], place: &Place) {
    query.push(" AND (");
    for (index, (term, key)) in order.iter().zip(&place.keys).enumerate() {
        for (equal, key) in order.iter().zip(&place.keys).take(index) {
            equal.push_equal(query, key);
            query.push(" AND ");
        }
        term.push_behind(query, key);
        query.push(" OR ");
    }
    for (term, key) in order.iter().zip(&place.keys) {
        term.push_equal(query, key);
        query.push(" AND ");
    }
    query.push(if ids_descend(order) {
        "l.id < "
    } else {
        "l.id > "
    });
    query.push_bind(place.id).push(")");
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

/// Ids follow the last term, so that the index on (owner, `created_at`, id) serves.
fn ids_descend(order: &[Term]) -> bool {
    order.last().is_some_and(|term| term.descending)
}
