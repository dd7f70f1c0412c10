//! `where`: which links. Operators are named as in Hasura.

use async_graphql::{ID, InputObject, MaybeUndefined};
use chrono::{DateTime, Utc};

use super::bounded_time;
use crate::{
    domain::links::LinkId,
    error::Error,
    store::link_filters::{Column, Comparison, Filter, Value},
};

/// Conditions in one filter, and how deep they nest.
const MAX_CONDITIONS: usize = 60;
const MAX_DEPTH: usize = 8;
const MAX_LIST: usize = 100;
const MAX_TEXT_BYTES: usize = 8192;

/// Which links. Fields that stand side by side must all hold.
#[derive(InputObject, Default)]
pub(super) struct LinkFilter {
    /// All of these hold.
    #[graphql(name = "_and")]
    and: Option<Vec<LinkFilter>>,
    /// At least one of these holds.
    #[graphql(name = "_or")]
    or: Option<Vec<LinkFilter>>,
    /// This does not hold.
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
    /// People and bots.
    total_clicks: Option<IntComparison>,
    created_at: Option<DateTimeComparison>,
    updated_at: Option<DateTimeComparison>,
}

/// Null is not a value here: use `_is_null`.
#[derive(InputObject)]
struct IdComparison {
    #[graphql(name = "_eq")]
    eq: MaybeUndefined<ID>,
    #[graphql(name = "_neq")]
    neq: MaybeUndefined<ID>,
    /// At most 100 values.
    #[graphql(name = "_in")]
    is_in: MaybeUndefined<Vec<ID>>,
    /// At most 100 values.
    #[graphql(name = "_nin")]
    not_in: MaybeUndefined<Vec<ID>>,
}

/// Null is not a value here.
#[derive(InputObject)]
struct BooleanComparison {
    #[graphql(name = "_eq")]
    eq: MaybeUndefined<bool>,
    #[graphql(name = "_neq")]
    neq: MaybeUndefined<bool>,
}

/// Null is not a value here: use `_is_null`. Texts have at most 8192 bytes.
#[derive(InputObject)]
struct StringComparison {
    #[graphql(name = "_eq")]
    eq: MaybeUndefined<String>,
    #[graphql(name = "_neq")]
    neq: MaybeUndefined<String>,
    #[graphql(name = "_gt")]
    gt: MaybeUndefined<String>,
    #[graphql(name = "_gte")]
    gte: MaybeUndefined<String>,
    #[graphql(name = "_lt")]
    lt: MaybeUndefined<String>,
    #[graphql(name = "_lte")]
    lte: MaybeUndefined<String>,
    /// At most 100 values.
    #[graphql(name = "_in")]
    is_in: MaybeUndefined<Vec<String>>,
    /// At most 100 values.
    #[graphql(name = "_nin")]
    not_in: MaybeUndefined<Vec<String>>,
    #[graphql(name = "_is_null")]
    is_null: MaybeUndefined<bool>,
    /// `%` stands for any text, `_` for any character; a backslash takes the next one literally.
    #[graphql(name = "_like")]
    like: MaybeUndefined<String>,
    /// The same without regard to case.
    #[graphql(name = "_ilike")]
    ilike: MaybeUndefined<String>,
}

macro_rules! ordered_comparison {
    ($name:ident, $value:ty) => {
        /// Null is not a value here: use `_is_null`.
        #[derive(InputObject)]
        struct $name {
            #[graphql(name = "_eq")]
            eq: MaybeUndefined<$value>,
            #[graphql(name = "_neq")]
            neq: MaybeUndefined<$value>,
            #[graphql(name = "_gt")]
            gt: MaybeUndefined<$value>,
            #[graphql(name = "_gte")]
            gte: MaybeUndefined<$value>,
            #[graphql(name = "_lt")]
            lt: MaybeUndefined<$value>,
            #[graphql(name = "_lte")]
            lte: MaybeUndefined<$value>,
            /// At most 100 values.
            #[graphql(name = "_in")]
            is_in: MaybeUndefined<Vec<$value>>,
            /// At most 100 values.
            #[graphql(name = "_nin")]
            not_in: MaybeUndefined<Vec<$value>>,
            #[graphql(name = "_is_null")]
            is_null: MaybeUndefined<bool>,
        }

        impl $name {
            fn add(self, tests: &mut Tests) -> Result<(), Error> {
                tests.compare("_eq", Comparison::Equal, self.eq)?;
                tests.compare("_neq", Comparison::NotEqual, self.neq)?;
                tests.compare("_gt", Comparison::Greater, self.gt)?;
                tests.compare("_gte", Comparison::GreaterOrEqual, self.gte)?;
                tests.compare("_lt", Comparison::Less, self.lt)?;
                tests.compare("_lte", Comparison::LessOrEqual, self.lte)?;
                tests.list("_in", false, self.is_in)?;
                tests.list("_nin", true, self.not_in)?;
                tests.null(self.is_null)
            }
        }
    };
}

ordered_comparison!(IntComparison, i32);
ordered_comparison!(DateTimeComparison, DateTime<Utc>);

impl IdComparison {
    fn add(self, tests: &mut Tests) -> Result<(), Error> {
        tests.compare("_eq", Comparison::Equal, self.eq)?;
        tests.compare("_neq", Comparison::NotEqual, self.neq)?;
        tests.list("_in", false, self.is_in)?;
        tests.list("_nin", true, self.not_in)
    }
}

impl BooleanComparison {
    fn add(self, tests: &mut Tests) -> Result<(), Error> {
        tests.compare("_eq", Comparison::Equal, self.eq)?;
        tests.compare("_neq", Comparison::NotEqual, self.neq)
    }
}

impl StringComparison {
    fn add(self, tests: &mut Tests) -> Result<(), Error> {
        tests.compare("_eq", Comparison::Equal, self.eq)?;
        tests.compare("_neq", Comparison::NotEqual, self.neq)?;
        tests.compare("_gt", Comparison::Greater, self.gt)?;
        tests.compare("_gte", Comparison::GreaterOrEqual, self.gte)?;
        tests.compare("_lt", Comparison::Less, self.lt)?;
        tests.compare("_lte", Comparison::LessOrEqual, self.lte)?;
        tests.list("_in", false, self.is_in)?;
        tests.list("_nin", true, self.not_in)?;
        tests.null(self.is_null)?;
        tests.pattern("_like", Comparison::Like, self.like)?;
        tests.pattern("_ilike", Comparison::LikeAnyCase, self.ilike)
    }
}

impl LinkFilter {
    /// The filter as the store understands it.
    ///
    /// # Errors
    /// `Invalid` naming the operator by its place in `where`.
    pub(super) fn into_filter(self) -> Result<Filter, Error> {
        let mut left = MAX_CONDITIONS;
        self.convert("/where", MAX_DEPTH, &mut left)
    }

    fn convert(self, path: &str, depth: usize, left: &mut usize) -> Result<Filter, Error> {
        if depth == 0 {
            let detail = format!("must not nest deeper than {MAX_DEPTH} levels");
            return Err(Error::field(path, "too_deep", detail));
        }
        let mut all = Vec::new();
        for (name, parts) in [("_and", self.and), ("_or", self.or)] {
            let Some(parts) = parts else { continue };
            let converted: Result<Vec<Filter>, Error> = parts
                .into_iter()
                .enumerate()
                .map(|(n, part)| part.convert(&format!("{path}/{name}/{n}"), depth - 1, left))
                .collect();
            all.push(if name == "_and" {
                Filter::All(converted?)
            } else {
                Filter::Any(converted?)
            });
        }
        if let Some(part) = self.not {
            let part = part.convert(&format!("{path}/_not"), depth - 1, left)?;
            all.push(Filter::Not(Box::new(part)));
        }
        let mut add = |name: &str, column, add: &mut dyn FnMut(&mut Tests) -> Result<(), Error>| {
            let mut tests = Tests {
                path: format!("{path}/{name}"),
                column,
                found: Vec::new(),
            };
            add(&mut tests)?;
            *left = left.checked_sub(tests.found.len()).ok_or_else(|| {
                let detail = format!("must not have more than {MAX_CONDITIONS} conditions");
                Error::field("/where", "too_many_conditions", detail)
            })?;
            all.append(&mut tests.found);
            Ok::<(), Error>(())
        };
        macro_rules! columns {
            ($($field:ident, $name:literal, $column:ident;)*) => {$(
                if let Some(comparison) = self.$field {
                    let mut comparison = Some(comparison);
                    add($name, Column::$column, &mut |tests| {
                        comparison.take().map_or(Ok(()), |comparison| comparison.add(tests))
                    })?;
                }
            )*};
        }
        columns! {
            id, "id", Id;
            slug, "slug", Slug;
            url, "url", Url;
            title, "title", Title;
            enabled, "enabled", Enabled;
            redirect_status, "redirectStatus", RedirectStatus;
            expires_at, "expiresAt", ExpiresAt;
            max_clicks, "maxClicks", MaxClicks;
            total_clicks, "totalClicks", TotalClicks;
            created_at, "createdAt", CreatedAt;
            updated_at, "updatedAt", UpdatedAt;
        }
        Ok(Filter::All(all))
    }
}

/// The conditions on one column.
struct Tests {
    path: String,
    column: Column,
    found: Vec<Filter>,
}

/// What a client writes, as the store takes it.
trait IntoValue {
    fn into_value(self, pointer: &str) -> Result<Value, Error>;
}

impl Tests {
    fn compare<T: IntoValue>(
        &mut self,
        operator: &str,
        comparison: Comparison,
        value: MaybeUndefined<T>,
    ) -> Result<(), Error> {
        let Some((value, pointer)) = self.given(operator, value)? else {
            return Ok(());
        };
        let value = value.into_value(&pointer)?;
        self.found
            .push(Filter::Compare(self.column, comparison, value));
        Ok(())
    }

    fn list<T: IntoValue>(
        &mut self,
        operator: &str,
        negated: bool,
        values: MaybeUndefined<Vec<T>>,
    ) -> Result<(), Error> {
        let Some((values, pointer)) = self.given(operator, values)? else {
            return Ok(());
        };
        if values.len() > MAX_LIST {
            let detail = format!("must have at most {MAX_LIST} values");
            return Err(Error::field(pointer, "too_many_values", detail));
        }
        let values: Result<Vec<Value>, Error> = values
            .into_iter()
            .enumerate()
            .map(|(n, value)| value.into_value(&format!("{pointer}/{n}")))
            .collect();
        self.found.push(Filter::In {
            column: self.column,
            values: values?,
            negated,
        });
        Ok(())
    }

    fn null(&mut self, value: MaybeUndefined<bool>) -> Result<(), Error> {
        if let Some((is_null, _)) = self.given("_is_null", value)? {
            self.found.push(Filter::IsNull(self.column, is_null));
        }
        Ok(())
    }

    fn pattern(
        &mut self,
        operator: &str,
        comparison: Comparison,
        value: MaybeUndefined<String>,
    ) -> Result<(), Error> {
        if let MaybeUndefined::Value(pattern) = &value {
            let trailing = pattern
                .bytes()
                .rev()
                .take_while(|byte| *byte == b'\\')
                .count();
            if trailing % 2 == 1 {
                let pointer = format!("{}/{operator}", self.path);
                let detail = "must not end with a single backslash";
                return Err(Error::field(pointer, "invalid_pattern", detail));
            }
        }
        self.compare(operator, comparison, value)
    }

    /// Null would look like "no condition" and give away more than was meant.
    fn given<T>(
        &self,
        operator: &str,
        value: MaybeUndefined<T>,
    ) -> Result<Option<(T, String)>, Error> {
        let pointer = format!("{}/{operator}", self.path);
        match value {
            MaybeUndefined::Undefined => Ok(None),
            MaybeUndefined::Value(value) => Ok(Some((value, pointer))),
            MaybeUndefined::Null => Err(Error::field(
                pointer,
                "null",
                "must not be null; use _is_null",
            )),
        }
    }
}

impl IntoValue for ID {
    fn into_value(self, pointer: &str) -> Result<Value, Error> {
        let id: LinkId = crate::domain::links::parse_id(&self, pointer)?;
        Ok(Value::Uuid(id.uuid()))
    }
}

impl IntoValue for bool {
    fn into_value(self, _: &str) -> Result<Value, Error> {
        Ok(Value::Flag(self))
    }
}

impl IntoValue for i32 {
    fn into_value(self, _: &str) -> Result<Value, Error> {
        Ok(Value::Number(self.into()))
    }
}

impl IntoValue for DateTime<Utc> {
    fn into_value(self, pointer: &str) -> Result<Value, Error> {
        bounded_time(self, pointer).map(Value::Time)
    }
}

impl IntoValue for String {
    fn into_value(self, pointer: &str) -> Result<Value, Error> {
        if self.len() > MAX_TEXT_BYTES {
            let detail = format!("must have at most {MAX_TEXT_BYTES} bytes");
            return Err(Error::field(pointer, "too_long", detail));
        }
        // Postgres cannot hold the character NUL.
        if self.contains('\0') {
            let detail = "must not hold the character NUL";
            return Err(Error::field(pointer, "invalid_characters", detail));
        }
        Ok(Value::Text(self))
    }
}
