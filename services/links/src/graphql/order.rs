//! `orderBy`: in which order.

use async_graphql::{Enum, InputObject};

use crate::{
    error::Error,
    store::{
        link_filters::Column,
        link_lists::{Key, Term},
        links::LinkRow,
    },
};

const MAX_TERMS: usize = 3;

/// One term of an order. Links that are equal in all terms stand in the order of their ids.
#[derive(InputObject)]
pub(super) struct LinkOrder {
    field: LinkOrderField,
    #[graphql(default_with = "OrderDirection::Asc")]
    direction: OrderDirection,
    /// Left out: last when ascending, first when descending.
    nulls: Option<NullsOrder>,
}

#[derive(Clone, Copy, PartialEq, Eq, Enum)]
pub(super) enum LinkOrderField {
    CreatedAt,
    UpdatedAt,
    Slug,
    Title,
    ExpiresAt,
    /// People and bots.
    TotalClicks,
}

#[derive(Clone, Copy, PartialEq, Eq, Enum)]
pub(super) enum OrderDirection {
    Asc,
    Desc,
}

#[derive(Clone, Copy, PartialEq, Eq, Enum)]
pub(super) enum NullsOrder {
    First,
    Last,
}

/// The terms as the store takes them; nothing asked: newest first.
///
/// # Errors
/// More than three terms, or a field twice.
pub(super) fn terms(orders: Option<Vec<LinkOrder>>) -> Result<Vec<Term>, Error> {
    let orders = orders.unwrap_or_default();
    if orders.len() > MAX_TERMS {
        let detail = format!("must have at most {MAX_TERMS} terms");
        return Err(Error::field("/orderBy", "too_many_terms", detail));
    }
    let mut terms: Vec<Term> = Vec::new();
    for (n, order) in orders.iter().enumerate() {
        let column = column(order.field);
        if terms.iter().any(|term| term.column == column) {
            let pointer = format!("/orderBy/{n}/field");
            return Err(Error::field(pointer, "repeated", "must not be named twice"));
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

/// What the link has in each term.
pub(super) fn keys(terms: &[Term], link: &LinkRow) -> Vec<Key> {
    let time = |at: Option<_>| at.map_or(Key::Null, Key::Time);
    let text = |text: Option<&String>| text.map_or(Key::Null, |text| Key::Text(text.clone()));
    let key = |term: &Term| match term.column {
        Column::UpdatedAt => time(Some(link.updated_at)),
        Column::ExpiresAt => time(link.expires_at),
        Column::Slug => text(Some(&link.slug)),
        Column::Title => text(link.title.as_ref()),
        Column::TotalClicks => Key::Number(link.people + link.bots),
        _ => time(Some(link.created_at)),
    };
    terms.iter().map(key).collect()
}

/// Whether a key, as a client sends it back, may stand in the term.
pub(super) fn fits(term: Term, key: &Key) -> bool {
    match (term.column, key) {
        (Column::Title | Column::ExpiresAt, Key::Null) | (Column::TotalClicks, Key::Number(_)) => {
            true
        }
        (Column::Slug | Column::Title, Key::Text(text)) => !text.contains('\0'),
        (Column::CreatedAt | Column::UpdatedAt | Column::ExpiresAt, Key::Time(at)) => {
            super::bounded_time(*at, "").is_ok()
        }
        _ => false,
    }
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
