//! The argument `orderBy`.

use async_graphql::{Enum, InputObject};
use quartet_common::problem::{Problem, Rule};

use crate::{
    graphql::error::invalid_argument,
    store::{link_filters::Column, link_lists::Term},
};

const MAX_TERMS: usize = 3;

/// One term of an order. Links that are equal in all terms are ordered by id, in the direction of
/// the last term.
#[derive(InputObject)]
pub(crate) struct LinkOrder {
    /// The field to order by.
    field: LinkOrderField,
    /// Ascending or descending.
    #[graphql(default_with = "OrderDirection::Asc")]
    direction: OrderDirection,
    /// Where links go whose field is null. Default: last if ascending, first if descending.
    nulls: Option<NullsOrder>,
}

/// A field that links can be ordered by.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum LinkOrderField {
    CreatedAt,
    UpdatedAt,
    Slug,
    Title,
    ExpiresAt,
    /// Clicks of people and bots.
    TotalClicks,
}

/// The direction of a term.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum OrderDirection {
    /// Ascending: smallest, oldest or first in the alphabet first.
    Asc,
    /// Descending.
    Desc,
}

/// Where nulls go.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum NullsOrder {
    First,
    Last,
}

/// The terms of the store. Without any, newest first.
///
/// # Errors
/// `INVALID_INPUT` for more than three terms or a field that is used twice.
pub(crate) fn terms(orders: Option<Vec<LinkOrder>>) -> Result<Vec<Term>, Problem> {
    let orders = orders.unwrap_or_default();
    if orders.len() > MAX_TERMS {
        let rule = Rule::new(
            "too_many_terms",
            format!("must have at most {MAX_TERMS} terms"),
        );
        return Err(invalid_argument("/orderBy", rule));
    }
    let mut terms: Vec<Term> = Vec::new();
    for (n, order) in orders.iter().enumerate() {
        let column = column(order.field);
        if terms.iter().any(|term| term.column == column) {
            let rule = Rule::new("repeated", "must not be used twice");
            return Err(invalid_argument(format!("/orderBy/{n}/field"), rule));
        }
        let descending = order.direction == OrderDirection::Desc;
        let nulls_first = order
            .nulls
            .map_or(descending, |nulls| nulls == NullsOrder::First);
        terms.push(Term {
            column,
            descending,
            nulls_first,
        });
    }
    if terms.is_empty() {
        terms.push(Term {
            column: Column::CreatedAt,
            descending: true,
            nulls_first: true,
        });
    }
    Ok(terms)
}

fn column(field: LinkOrderField) -> Column {
    match field {
        LinkOrderField::CreatedAt => Column::CreatedAt,
        LinkOrderField::UpdatedAt => Column::UpdatedAt,
        LinkOrderField::Slug => Column::Slug,
        LinkOrderField::Title => Column::Title,
        LinkOrderField::ExpiresAt => Column::ExpiresAt,
        LinkOrderField::TotalClicks => Column::TotalClicks,
    }
}
