//! The argument `where`.

use async_graphql::InputObject;
use quartet_common::problem::{Problem, Rule};

use super::comparison::{
    BooleanComparison, Conditions, DateTimeComparison, IdComparison, IntComparison, Operators,
    StringComparison,
};
use crate::{
    graphql::error::invalid_argument,
    store::link_filters::{Column, Filter},
};

/// Comparisons in one filter.
const MAX_CONDITIONS: usize = 60;
/// The cost of one `_like` or `_ilike`.
const PATTERN_COST: usize = 500;
/// Filters within filters.
const MAX_DEPTH: usize = 8;

/// Selects links. All given fields must hold. At most 60 comparisons and 8 levels of filters.
#[derive(InputObject, Default)]
pub(crate) struct LinkFilter {
    /// All of these filters hold. True if empty.
    #[graphql(name = "_and")]
    and: Option<Vec<LinkFilter>>,
    /// At least one of these filters holds. False if empty.
    #[graphql(name = "_or")]
    or: Option<Vec<LinkFilter>>,
    /// This filter does not hold.
    #[graphql(name = "_not")]
    not: Option<Box<LinkFilter>>,
    id: Option<IdComparison>,
    slug: Option<StringComparison>,
    url: Option<StringComparison>,
    title: Option<StringComparison>,
    enabled: Option<BooleanComparison>,
    redirect_status: Option<IntComparison>,
    expires_at: Option<DateTimeComparison>,
    max_clicks: Option<IntComparison>,
    /// Clicks of people and bots.
    total_clicks: Option<IntComparison>,
    created_at: Option<DateTimeComparison>,
    updated_at: Option<DateTimeComparison>,
}

/// The cost of patterns, for the cost of the operation: no index helps with them, so that each reads
/// all links of the owner.
pub(crate) fn search_cost(filter: Option<&LinkFilter>) -> usize {
    let patterns = filter.map_or(0, LinkFilter::patterns);
    patterns.saturating_mul(PATTERN_COST)
}

impl LinkFilter {
    fn patterns(&self) -> usize {
        let lists = [&self.and, &self.or].into_iter().flatten().flatten();
        let inner = lists.chain(self.not.as_deref()).map(Self::patterns);
        let columns = [&self.slug, &self.url, &self.title].into_iter().flatten();
        inner.chain(columns.map(StringComparison::patterns)).sum()
    }

    /// The filter of the store.
    ///
    /// # Errors
    /// `INVALID_INPUT` with the pointer of the operator or filter, such as `/where/_or/1/slug/_eq`.
    pub(crate) fn into_filter(self) -> Result<Filter, Problem> {
        let mut conditions_left = MAX_CONDITIONS;
        self.convert("/where", MAX_DEPTH, &mut conditions_left)
    }

    fn convert(self, pointer: &str, depth: usize, left: &mut usize) -> Result<Filter, Problem> {
        if depth == 0 {
            let detail = format!("must not be nested in more than {MAX_DEPTH} levels");
            return Err(invalid_argument(pointer, Rule::new("too_deep", detail)));
        }
        let mut convert_all = |filters: Vec<Self>, name: &str| -> Result<Vec<Filter>, Problem> {
            let filters = filters.into_iter().enumerate();
            filters
                .map(|(n, filter)| {
                    filter.convert(&format!("{pointer}/{name}/{n}"), depth - 1, left)
                })
                .collect()
        };
        let mut all = Vec::new();
        if let Some(filters) = self.and {
            all.push(Filter::All(convert_all(filters, "_and")?));
        }
        if let Some(filters) = self.or {
            all.push(Filter::Any(convert_all(filters, "_or")?));
        }
        if let Some(filter) = self.not {
            let filter = filter.convert(&format!("{pointer}/_not"), depth - 1, left)?;
            all.push(Filter::Not(Box::new(filter)));
        }
        let mut columns = FilterColumns { pointer, left, all };
        columns.add(Column::Id, "id", self.id)?;
        columns.add(Column::Slug, "slug", self.slug)?;
        columns.add(Column::Url, "url", self.url)?;
        columns.add(Column::Title, "title", self.title)?;
        columns.add(Column::Enabled, "enabled", self.enabled)?;
        columns.add(
            Column::RedirectStatus,
            "redirectStatus",
            self.redirect_status,
        )?;
        columns.add(Column::ExpiresAt, "expiresAt", self.expires_at)?;
        columns.add(Column::MaxClicks, "maxClicks", self.max_clicks)?;
        columns.add(Column::TotalClicks, "totalClicks", self.total_clicks)?;
        columns.add(Column::CreatedAt, "createdAt", self.created_at)?;
        columns.add(Column::UpdatedAt, "updatedAt", self.updated_at)?;
        Ok(Filter::All(columns.all))
    }
}

/// The conditions of one filter.
struct FilterColumns<'a> {
    pointer: &'a str,
    /// Conditions that the whole filter may still have.
    left: &'a mut usize,
    all: Vec<Filter>,
}

impl FilterColumns<'_> {
    fn add(
        &mut self,
        column: Column,
        name: &str,
        comparison: Option<impl Operators>,
    ) -> Result<(), Problem> {
        let Some(comparison) = comparison else {
            return Ok(());
        };
        let mut conditions = Conditions {
            column,
            pointer: format!("{}/{name}", self.pointer),
            filters: Vec::new(),
        };
        comparison.push(&mut conditions)?;
        let left = self.left.checked_sub(conditions.filters.len());
        *self.left = left.ok_or_else(|| {
            let detail = format!("must have at most {MAX_CONDITIONS} comparisons");
            invalid_argument("/where", Rule::new("too_many_conditions", detail))
        })?;
        self.all.append(&mut conditions.filters);
        Ok(())
    }
}
