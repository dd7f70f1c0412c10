//! Pages of links.

use async_graphql::{Context, Object, SimpleObject};
use quartet_common::problem::{Problem, Rule};

use super::cursor;
use crate::{
    domain::links,
    graphql::{
        error::{Result, invalid_argument},
        schema::{
            link::Link,
            scope::{connection, scope},
        },
    },
    store::{
        link_filters::Filter,
        link_lists::{Order, Slice},
        links::LinkRow,
    },
};

const DEFAULT_ROWS: i32 = 20;
const MAX_ROWS: i32 = 100;
/// The cost of a count, times the page size.
const COUNT_COST: usize = 10;

/// The arguments that select a page.
pub(crate) struct PageArguments {
    pub(crate) first: Option<i32>,
    pub(crate) after: Option<String>,
    pub(crate) last: Option<i32>,
    pub(crate) before: Option<String>,
}

pub(crate) struct LinkConnection {
    rows: Vec<LinkRow>,
    order: Order,
    filter: Filter,
    has_next: bool,
    has_previous: bool,
}

/// A link with its cursor.
#[derive(SimpleObject)]
pub(super) struct LinkEdge {
    /// For `after` or `before`, with the same `orderBy`. Opaque, at most 4096 bytes.
    cursor: String,
    /// The link.
    node: Link,
}

/// Where a page is in the list.
#[derive(SimpleObject)]
pub(super) struct PageInfo {
    /// Whether there are links after this page. With `last`: whether `before` was given.
    has_next_page: bool,
    /// Whether there are links before this page. With `first`: whether `after` was given.
    has_previous_page: bool,
    /// The cursor of the first link. Null if the page is empty.
    start_cursor: Option<String>,
    /// The cursor of the last link. Null if the page is empty.
    end_cursor: Option<String>,
}

/// One page of links.
#[Object]
impl LinkConnection {
    /// The links with their cursors.
    async fn edges(&self) -> Vec<LinkEdge> {
        let edge = |row: &LinkRow| LinkEdge {
            cursor: self.cursor(row),
            node: Link(row.clone()),
        };
        self.rows.iter().map(edge).collect()
    }

    /// The links without their cursors.
    async fn nodes(&self) -> Vec<Link> {
        self.rows.iter().cloned().map(Link).collect()
    }

    /// Where the page is in the list.
    async fn page_info(&self) -> PageInfo {
        PageInfo {
            has_next_page: self.has_next,
            has_previous_page: self.has_previous,
            start_cursor: self.rows.first().map(|row| self.cursor(row)),
            end_cursor: self.rows.last().map(|row| self.cursor(row)),
        }
    }

    /// The number of links on all pages. Takes a query of its own.
    #[graphql(complexity = "COUNT_COST")]
    async fn total_count(&self, ctx: &Context<'_>) -> Result<i64> {
        let (context, actor) = scope(ctx)?;
        let _connection = connection(ctx).await?;
        Ok(links::count(context, actor, &self.filter).await?)
    }
}

impl LinkConnection {
    /// `rows` may have one row more than the page: it shows that there are more.
    pub(crate) fn new(mut rows: Vec<LinkRow>, slice: &Slice, order: Order, filter: Filter) -> Self {
        let more = u32::try_from(rows.len()).is_ok_and(|rows| rows >= slice.limit);
        if more && slice.from_end {
            rows.remove(0);
        } else if more {
            rows.pop();
        }
        let (has_next, has_previous) = if slice.from_end {
            (slice.before.is_some(), more)
        } else {
            (more, slice.after.is_some())
        };
        Self {
            rows,
            order,
            filter,
            has_next,
            has_previous,
        }
    }

    fn cursor(&self, row: &LinkRow) -> String {
        cursor::encode(self.order, row)
    }
}

impl PageArguments {
    /// The page and one row more.
    ///
    /// # Errors
    /// `INVALID_INPUT` with the pointer of the argument.
    pub(crate) fn into_slice(self, order: Order) -> Result<Slice, Problem> {
        let from_end = self.last.is_some();
        if from_end && self.first.is_some() {
            let rule = Rule::new("conflict", "must not be combined with first");
            return Err(invalid_argument("/last", rule));
        }
        let rows = self.first.or(self.last).unwrap_or(DEFAULT_ROWS);
        if !(0..=MAX_ROWS).contains(&rows) {
            let pointer = if from_end { "/last" } else { "/first" };
            let rule = Rule::new("out_of_range", format!("must be 0 to {MAX_ROWS}"));
            return Err(invalid_argument(pointer, rule));
        }
        let decode = |cursor: Option<String>, pointer| {
            let cursor = cursor.map(|cursor| cursor::decode(&cursor, order, pointer));
            cursor.transpose()
        };
        Ok(Slice {
            after: decode(self.after, "/after")?,
            before: decode(self.before, "/before")?,
            from_end,
            limit: rows.unsigned_abs() + 1,
        })
    }
}

/// The number of links that a page can have, for the cost of the operation.
pub(crate) fn max_rows(first: Option<i32>, last: Option<i32>) -> usize {
    let rows = first.or(last).unwrap_or(DEFAULT_ROWS).clamp(1, MAX_ROWS);
    usize::try_from(rows).unwrap_or(1)
}
