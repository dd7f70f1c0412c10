//! Conditions on links, as data. SQL text comes only from the constants in this file; values are
//! always bound.

use chrono::{DateTime, Utc};
use sqlx::{Postgres, QueryBuilder};

use crate::store::links::LinkId;

/// A column that links can be filtered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Id,
    Slug,
    Url,
    Title,
    Enabled,
    RedirectStatus,
    ExpiresAt,
    MaxClicks,
    TotalClicks,
    CreatedAt,
    UpdatedAt,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Id(LinkId),
    Text(String),
    Flag(bool),
    Number(i64),
    Time(DateTime<Utc>),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Like,
    LikeIgnoreCase,
}

#[derive(Clone, Debug)]
pub(crate) enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    Compare(Column, Comparison, Value),
    In {
        column: Column,
        values: Vec<Value>,
        negated: bool,
    },
    IsNull(Column, bool),
}

impl Column {
    /// The column in queries over `links.links AS l LEFT JOIN links.click_totals AS t`.
    pub(super) fn sql(self) -> &'static str {
        match self {
            Self::Id => "l.id",
            Self::Slug => "l.slug",
            Self::Url => "l.url",
            Self::Title => "l.title",
            Self::Enabled => "l.enabled",
            Self::RedirectStatus => "l.redirect_status",
            Self::ExpiresAt => "l.expires_at",
            Self::MaxClicks => "l.max_clicks",
            Self::TotalClicks => "t.total",
            Self::CreatedAt => "l.created_at",
            Self::UpdatedAt => "l.updated_at",
        }
    }
}

impl Comparison {
    fn sql(self) -> &'static str {
        match self {
            Self::Equal => " = ",
            Self::NotEqual => " <> ",
            Self::Greater => " > ",
            Self::GreaterOrEqual => " >= ",
            Self::Less => " < ",
            Self::LessOrEqual => " <= ",
            Self::Like => " LIKE ",
            Self::LikeIgnoreCase => " ILIKE ",
        }
    }
}

impl Filter {
    /// Appends the condition in parentheses.
    pub(super) fn push(&self, query: &mut QueryBuilder<Postgres>) {
        match self {
            Self::All(parts) => push_joined(query, parts, " AND ", "true"),
            Self::Any(parts) => push_joined(query, parts, " OR ", "false"),
            Self::Not(part) => {
                // Not `NOT`: where the part is unknown, because of a null, it does not hold either.
                query.push("(");
                part.push(query);
                query.push(" IS NOT TRUE)");
            }
            Self::Compare(column, comparison, value) => {
                query.push("(").push(column.sql()).push(comparison.sql());
                push_value(query, value);
                query.push(")");
            }
            Self::In {
                column,
                values,
                negated,
            } => push_in(query, *column, values, *negated),
            Self::IsNull(column, is_null) => {
                let test = if *is_null {
                    " IS NULL)"
                } else {
                    " IS NOT NULL)"
                };
                query.push("(").push(column.sql()).push(test);
            }
        }
    }
}

pub(super) fn push_value(query: &mut QueryBuilder<Postgres>, value: &Value) {
    match value {
        Value::Id(value) => query.push_bind(*value),
        Value::Text(value) => query.push_bind(value.clone()),
        Value::Flag(value) => query.push_bind(*value),
        Value::Number(value) => query.push_bind(*value),
        Value::Time(value) => query.push_bind(*value),
    };
}

fn push_joined(
    query: &mut QueryBuilder<Postgres>,
    parts: &[Filter],
    separator: &'static str,
    when_empty: &'static str,
) {
    query.push("(");
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            query.push(separator);
        }
        part.push(query);
    }
    query
        .push(if parts.is_empty() { when_empty } else { "" })
        .push(")");
}

fn push_in(query: &mut QueryBuilder<Postgres>, column: Column, values: &[Value], negated: bool) {
    if values.is_empty() {
        query.push(if negated { "(true)" } else { "(false)" });
        return;
    }
    query
        .push("(")
        .push(column.sql())
        .push(if negated { " NOT IN (" } else { " IN (" });
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            query.push(", ");
        }
        push_value(query, value);
    }
    query.push("))");
}
