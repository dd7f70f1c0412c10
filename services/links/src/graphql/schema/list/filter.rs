//! The argument `where`.

use async_graphql::{InputObject, MaybeUndefined};
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

/// Selects links. All given fields hold, none may be null. At most 60 comparisons, 8 levels deep.
#[derive(InputObject, Default)]
pub(crate) struct LinkFilter {
    /// All of these filters hold. True if empty.
    #[graphql(name = "_and")]
    and: MaybeUndefined<Vec<LinkFilter>>,
    /// At least one of these filters holds. False if empty.
    #[graphql(name = "_or")]
    or: MaybeUndefined<Vec<LinkFilter>>,
    /// This filter does not hold. A comparison of null never does, except `_is_null`.
    #[graphql(name = "_not")]
    not: MaybeUndefined<Box<LinkFilter>>,
    id: MaybeUndefined<IdComparison>,
    slug: MaybeUndefined<StringComparison>,
    url: MaybeUndefined<StringComparison>,
    title: MaybeUndefined<StringComparison>,
    enabled: MaybeUndefined<BooleanComparison>,
    redirect_status: MaybeUndefined<IntComparison>,
    expires_at: MaybeUndefined<DateTimeComparison>,
    max_clicks: MaybeUndefined<IntComparison>,
    /// Clicks of people and bots.
    total_clicks: MaybeUndefined<IntComparison>,
    created_at: MaybeUndefined<DateTimeComparison>,
    updated_at: MaybeUndefined<DateTimeComparison>,
}

/// The cost of patterns, for the cost of the operation: no index helps with them, so that each reads
/// all links of the owner.
pub(crate) fn search_cost(filter: Option<&LinkFilter>) -> usize {
    let patterns = filter.map_or(0, LinkFilter::patterns);
    patterns.saturating_mul(PATTERN_COST)
}

impl LinkFilter {
    fn patterns(&self) -> usize {
        let lists = [self.and.value(), self.or.value()].into_iter().flatten();
        let not = self.not.value().map(|filter| &**filter);
        let inner = lists.flatten().chain(not).map(Self::patterns);
        let columns = [&self.slug, &self.url, &self.title];
        let columns = columns.into_iter().filter_map(MaybeUndefined::value);
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
        if let Some(filters) = given(pointer, "_and", self.and)? {
            all.push(Filter::All(convert_all(filters, "_and")?));
        }
        if let Some(filters) = given(pointer, "_or", self.or)? {
            all.push(Filter::Any(convert_all(filters, "_or")?));
        }
        if let Some(filter) = given(pointer, "_not", self.not)? {
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

/// Null is an error, as it is for operands: read as "no condition", it would return more links than
/// intended.
fn given<T>(pointer: &str, name: &str, field: MaybeUndefined<T>) -> Result<Option<T>, Problem> {
    match field {
        MaybeUndefined::Undefined => Ok(None),
        MaybeUndefined::Value(field) => Ok(Some(field)),
        MaybeUndefined::Null => {
            let detail = "must not be null; leave it out for no condition";
            let pointer = format!("{pointer}/{name}");
            Err(invalid_argument(pointer, Rule::new("null", detail)))
        }
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
        comparison: MaybeUndefined<impl Operators>,
    ) -> Result<(), Problem> {
        let Some(comparison) = given(self.pointer, name, comparison)? else {
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
