//! Pages of links as Relay wants them.

use async_graphql::{Context, Object, Result, SimpleObject};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Viewer, error::graphql, link::Link, order};
use crate::{
    domain::links::Links,
    error::Error,
    store::{
        self,
        link_filters::Filter,
        link_lists::{Key, Place, Stretch, Term},
        links::LinkRow,
    },
};

const DEFAULT_ROWS: i32 = 20;
const MAX_ROWS: i32 = 100;
/// Longer texts are not cursors of ours: a title has at most 800 bytes.
const MAX_CURSOR_BYTES: usize = 4096;

/// What a client says about the page that it wants.
#[derive(Default)]
pub(super) struct PageArguments {
    pub(super) first: Option<i32>,
    pub(super) after: Option<String>,
    pub(super) last: Option<i32>,
    pub(super) before: Option<String>,
}

/// One page of links.
pub(super) struct LinkConnection {
    pub(super) rows: Vec<LinkRow>,
    pub(super) terms: Vec<Term>,
    pub(super) filter: Filter,
    pub(super) has_next: bool,
    pub(super) has_previous: bool,
}

/// A link and its place in the list.
#[derive(SimpleObject)]
pub(super) struct LinkEdge {
    /// Give it as `after` or `before`, with the same `orderBy`.
    cursor: String,
    node: Link,
}

/// Where a page lies.
#[derive(SimpleObject)]
pub(super) struct PageInfo {
    has_next_page: bool,
    has_previous_page: bool,
    start_cursor: Option<String>,
    end_cursor: Option<String>,
}

/// One page of links.
#[Object]
impl LinkConnection {
    async fn edges(&self) -> Vec<LinkEdge> {
        let edge = |row: &LinkRow| LinkEdge {
            cursor: self.cursor(row),
            node: Link { row: row.clone() },
        };
        self.rows.iter().map(edge).collect()
    }

    /// The links without their cursors.
    async fn nodes(&self) -> Vec<Link> {
        self.rows
            .iter()
            .map(|row| Link { row: row.clone() })
            .collect()
    }

    async fn page_info(&self) -> PageInfo {
        PageInfo {
            has_next_page: self.has_next,
            has_previous_page: self.has_previous,
            start_cursor: self.rows.first().map(|row| self.cursor(row)),
            end_cursor: self.rows.last().map(|row| self.cursor(row)),
        }
    }

    /// Links on all pages. Counted only when it is asked for.
    #[graphql(complexity = "100")]
    async fn total_count(&self, ctx: &Context<'_>) -> Result<i64> {
        let (links, owner) = (ctx.data::<Links>()?, &ctx.data::<Viewer>()?.subject);
        let mut tx = store::begin_as(&links.pool, owner).await.map_err(graphql)?;
        let count = store::link_lists::count(&mut tx, owner, &self.filter)
            .await
            .map_err(graphql)?;
        tx.commit().await.map_err(graphql)?;
        Ok(count)
    }
}

impl LinkConnection {
    /// Makes a page from up to one row more than it shows.
    pub(super) fn new(
        mut rows: Vec<LinkRow>,
        wanted: &Wanted,
        terms: Vec<Term>,
        filter: Filter,
    ) -> Self {
        let stretch = &wanted.stretch;
        let more = rows.len() > wanted.rows;
        if more && stretch.from_end {
            rows.remove(0);
        } else {
            rows.truncate(wanted.rows);
        }
        let (has_next, has_previous) = if stretch.from_end {
            (stretch.before.is_some(), more)
        } else {
            (more, stretch.after.is_some())
        };
        Self {
            rows,
            terms,
            filter,
            has_next,
            has_previous,
        }
    }

    fn cursor(&self, row: &LinkRow) -> String {
        let cursor = Cursor {
            order: signature(&self.terms),
            keys: order::keys(&self.terms, row),
            id: row.id,
        };
        let text = serde_json::to_string(&cursor).expect("a cursor is plain data");
        URL_SAFE_NO_PAD.encode(text)
    }
}

/// A checked page.
pub(super) struct Wanted {
    pub(super) rows: usize,
    pub(super) stretch: Stretch,
}

impl PageArguments {
    /// # Errors
    /// `Invalid` naming the argument.
    pub(super) fn check(self, terms: &[Term]) -> Result<Wanted, Error> {
        if self.first.is_some() && self.last.is_some() {
            return Err(Error::field(
                "/last",
                "conflict",
                "must not be given together with first",
            ));
        }
        let from_end = self.last.is_some();
        let name = if from_end { "/last" } else { "/first" };
        let rows = self.first.or(self.last).unwrap_or(DEFAULT_ROWS);
        if !(0..=MAX_ROWS).contains(&rows) {
            return Err(Error::field(
                name,
                "out_of_range",
                format!("must be 0 to {MAX_ROWS}"),
            ));
        }
        let place = |cursor: Option<String>, pointer| {
            cursor
                .map(|cursor| decode(&cursor, terms, pointer))
                .transpose()
        };
        let (after, before) = (place(self.after, "/after")?, place(self.before, "/before")?);
        let rows = rows.unsigned_abs();
        let stretch = Stretch {
            after,
            before,
            from_end,
            limit: rows + 1,
        };
        Ok(Wanted {
            rows: usize::try_from(rows).unwrap_or(0),
            stretch,
        })
    }
}

/// How many links a page may hold, for the cost of the document.
pub(super) fn rows(first: Option<i32>, last: Option<i32>) -> usize {
    let rows = first.or(last).unwrap_or(DEFAULT_ROWS).clamp(1, MAX_ROWS);
    usize::try_from(rows).unwrap_or(1)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cursor {
    #[serde(rename = "o")]
    order: String,
    #[serde(rename = "k")]
    keys: Vec<Key>,
    #[serde(rename = "i")]
    id: Uuid,
}

fn decode(text: &str, terms: &[Term], pointer: &str) -> Result<Place, Error> {
    let wrong = || Error::field(pointer, "invalid_cursor", "must be a cursor of this list");
    if text.len() > MAX_CURSOR_BYTES {
        return Err(wrong());
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
    let cursor: Cursor = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
    if cursor.order != signature(terms) {
        let detail = "must be a cursor of a list with the same orderBy";
        return Err(Error::field(pointer, "other_order", detail));
    }
    let fit = cursor.keys.len() == terms.len()
        && terms
            .iter()
            .zip(&cursor.keys)
            .all(|(term, key)| order::fits(*term, key));
    if fit {
        Ok(Place {
            keys: cursor.keys,
            id: cursor.id,
        })
    } else {
        Err(wrong())
    }
}

fn signature(terms: &[Term]) -> String {
    let term = |term: &Term| {
        let direction = if term.descending { '-' } else { '+' };
        let nulls = if term.nulls_first { '<' } else { '>' };
        format!("{direction}{:?}{nulls}", term.column)
    };
    terms.iter().map(term).collect()
}
