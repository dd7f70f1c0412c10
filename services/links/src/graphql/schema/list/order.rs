//! The argument `orderBy`.

use async_graphql::{Enum, InputObject};
use quartet_common::problem::{Problem, Rule};

use crate::{
    graphql::error::invalid_argument,
    store::{link_filters::Column, link_lists::Order},
};

/// An order. Links that are equal in the field are ordered by id, in the same direction.
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

/// The direction of an order.
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

/// The order of the store. Without any, newest first.
///
/// # Errors
/// `INVALID_INPUT` for more than one: no index serves them.
pub(crate) fn order(orders: Option<Vec<LinkOrder>>) -> Result<Order, Problem> {
    let orders = orders.unwrap_or_default();
    let given = match orders.as_slice() {
        [] => {
            return Ok(Order {
                column: Column::CreatedAt,
                descending: true,
                nulls_first: true,
            });
        }
        [order] => order,
        _ => {
            let rule = Rule::new("too_many_terms", "must have at most 1 term");
            return Err(invalid_argument("/orderBy", rule));
        }
    };
    let descending = given.direction == OrderDirection::Desc;
    let nulls_first = given
        .nulls
        .map_or(descending, |nulls| nulls == NullsOrder::First);
    Ok(Order {
        column: column(given.field),
        descending,
        nulls_first,
    })
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
