//! Comparisons of one column with values, named as in Hasura: `{_eq: "a", _in: ["a", "b"]}`.

use async_graphql::{ID, InputObject, MaybeUndefined};
use chrono::{DateTime, Utc};
use quartet_common::problem::{Problem, Rule};

use crate::{
    domain::values::times,
    graphql::{
        error::{invalid_argument, unreadable},
        schema::{link::link_id, parsed::Parsed},
    },
    store::link_filters::{
        Column,
        Comparison::{
            self, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Like, LikeIgnoreCase, NotEqual,
        },
        Filter, Value,
    },
};

const MAX_LIST: usize = 100;
const MAX_TEXT_BYTES: usize = 8192;

/// The operators that a type of column offers.
pub(super) trait Operators {
    fn push(self, conditions: &mut Conditions) -> Result<(), Problem>;
}

/// Declares an input type: for each operator its operand and the method of [`Conditions`] for it.
macro_rules! comparison {
    ($(#[$about:meta])* $name:ident {
        $($(#[$doc:meta])* $operator:ident: $operand:ty => $method:ident($($argument:expr)?),)*
    }) => {
        $(#[$about])*
        #[derive(InputObject)]
        #[graphql(rename_fields = "lowercase")]
        pub(super) struct $name {
            $($(#[$doc])* $operator: MaybeUndefined<$operand>,)*
        }

        impl Operators for $name {
            fn push(self, conditions: &mut Conditions) -> Result<(), Problem> {
                $(conditions.$method(stringify!($operator), self.$operator $(, $argument)?)?;)*
                Ok(())
            }
        }
    };
}

comparison! {
    /// Compares an id. All given operators must hold. Null is not a valid operand.
    IdComparison {
        _eq: ID => compare(Equal),
        _neq: ID => compare(NotEqual),
        /// At most 100 ids.
        _in: Vec<ID> => list(false),
        /// At most 100 ids.
        _nin: Vec<ID> => list(true),
    }
}

comparison! {
    /// Compares a Boolean. All given operators must hold. Null is not a valid operand.
    BooleanComparison {
        _eq: bool => compare(Equal),
        _neq: bool => compare(NotEqual),
    }
}

comparison! {
    /// Compares an integer. All given operators must hold. Null is not a valid operand; use
    /// `_is_null`.
    IntComparison {
        _eq: Parsed<i32> => compare(Equal),
        /// Does not match null.
        _neq: Parsed<i32> => compare(NotEqual),
        _gt: Parsed<i32> => compare(Greater),
        _gte: Parsed<i32> => compare(GreaterOrEqual),
        _lt: Parsed<i32> => compare(Less),
        _lte: Parsed<i32> => compare(LessOrEqual),
        /// At most 100 integers.
        _in: Vec<Parsed<i32>> => list(false),
        /// At most 100 integers. Does not match null.
        _nin: Vec<Parsed<i32>> => list(true),
        /// Whether the field is null.
        _is_null: bool => null(),
    }
}

comparison! {
    /// Compares a time. All given operators must hold. Times are of the years 1970 to 9999. Null is
    /// not a valid operand; use `_is_null`.
    DateTimeComparison {
        _eq: Parsed<DateTime<Utc>> => compare(Equal),
        /// Does not match null.
        _neq: Parsed<DateTime<Utc>> => compare(NotEqual),
        _gt: Parsed<DateTime<Utc>> => compare(Greater),
        _gte: Parsed<DateTime<Utc>> => compare(GreaterOrEqual),
        _lt: Parsed<DateTime<Utc>> => compare(Less),
        _lte: Parsed<DateTime<Utc>> => compare(LessOrEqual),
        /// At most 100 times.
        _in: Vec<Parsed<DateTime<Utc>>> => list(false),
        /// At most 100 times. Does not match null.
        _nin: Vec<Parsed<DateTime<Utc>>> => list(true),
        /// Whether the field is null.
        _is_null: bool => null(),
    }
}

comparison! {
    /// Compares a string. All given operators must hold. Operands have at most 8192 bytes. Null is
    /// not a valid operand; use `_is_null`.
    StringComparison {
        _eq: String => compare(Equal),
        /// Does not match null.
        _neq: String => compare(NotEqual),
        _gt: String => compare(Greater),
        _gte: String => compare(GreaterOrEqual),
        _lt: String => compare(Less),
        _lte: String => compare(LessOrEqual),
        /// At most 100 strings.
        _in: Vec<String> => list(false),
        /// At most 100 strings. Does not match null.
        _nin: Vec<String> => list(true),
        /// Whether the field is null.
        _is_null: bool => null(),
        /// A pattern for the whole string: `%` matches any characters, `_` any single one, a
        /// backslash escapes the next one.
        _like: String => pattern(Like),
        /// Like `_like`, ignoring case.
        _ilike: String => pattern(LikeIgnoreCase),
    }
}

impl StringComparison {
    /// The number of patterns.
    pub(super) fn patterns(&self) -> usize {
        let given = [&self._like, &self._ilike].into_iter();
        given.filter(|pattern| !pattern.is_undefined()).count()
    }
}

/// The conditions on one column.
pub(super) struct Conditions {
    pub(super) column: Column,
    pub(super) pointer: String,
    pub(super) filters: Vec<Filter>,
}

/// An operand, as the store takes it.
trait Operand {
    fn into_value(self, pointer: &str) -> Result<Value, Problem>;
}

impl Conditions {
    fn compare<T: Operand>(
        &mut self,
        operator: &str,
        operand: MaybeUndefined<T>,
        comparison: Comparison,
    ) -> Result<(), Problem> {
        if let Some((operand, pointer)) = self.given(operator, operand)? {
            let value = operand.into_value(&pointer)?;
            self.filters
                .push(Filter::Compare(self.column, comparison, value));
        }
        Ok(())
    }

    fn list<T: Operand>(
        &mut self,
        operator: &str,
        operands: MaybeUndefined<Vec<T>>,
        negated: bool,
    ) -> Result<(), Problem> {
        let Some((operands, pointer)) = self.given(operator, operands)? else {
            return Ok(());
        };
        if operands.len() > MAX_LIST {
            let detail = format!("must have at most {MAX_LIST} values");
            return Err(invalid(pointer, "too_many_values", detail));
        }
        let values: Result<Vec<Value>, Problem> = operands
            .into_iter()
            .enumerate()
            .map(|(n, operand)| operand.into_value(&format!("{pointer}/{n}")))
            .collect();
        self.filters.push(Filter::In {
            column: self.column,
            values: values?,
            negated,
        });
        Ok(())
    }

    fn null(&mut self, operator: &str, operand: MaybeUndefined<bool>) -> Result<(), Problem> {
        if let Some((is_null, _)) = self.given(operator, operand)? {
            self.filters.push(Filter::IsNull(self.column, is_null));
        }
        Ok(())
    }

    /// Postgres rejects a pattern whose last backslash escapes nothing.
    fn pattern(
        &mut self,
        operator: &str,
        operand: MaybeUndefined<String>,
        comparison: Comparison,
    ) -> Result<(), Problem> {
        if let MaybeUndefined::Value(pattern) = &operand {
            let backslashes = pattern.bytes().rev().take_while(|byte| *byte == b'\\');
            if backslashes.count() % 2 == 1 {
                let pointer = format!("{}/{operator}", self.pointer);
                let detail = "must not end with an unescaped backslash";
                return Err(invalid(pointer, "invalid_pattern", detail));
            }
        }
        self.compare(operator, operand, comparison)
    }

    /// The operand and its pointer. Null is an error: read as "no condition", it would return more
    /// links than intended.
    fn given<T>(
        &self,
        operator: &str,
        operand: MaybeUndefined<T>,
    ) -> Result<Option<(T, String)>, Problem> {
        let pointer = format!("{}/{operator}", self.pointer);
        match operand {
            MaybeUndefined::Undefined => Ok(None),
            MaybeUndefined::Value(operand) => Ok(Some((operand, pointer))),
            MaybeUndefined::Null => Err(invalid(pointer, "null", "must not be null; use _is_null")),
        }
    }
}

impl Operand for ID {
    fn into_value(self, pointer: &str) -> Result<Value, Problem> {
        link_id(&self, pointer).map(Value::Id)
    }
}

impl Operand for bool {
    fn into_value(self, _: &str) -> Result<Value, Problem> {
        Ok(Value::Flag(self))
    }
}

impl Operand for Parsed<i32> {
    fn into_value(self, pointer: &str) -> Result<Value, Problem> {
        let number = self.read().map_err(|rule| unreadable([(pointer, rule)]))?;
        Ok(Value::Number(number.into()))
    }
}

impl Operand for Parsed<DateTime<Utc>> {
    fn into_value(self, pointer: &str) -> Result<Value, Problem> {
        let time = self.read().map_err(|rule| unreadable([(pointer, rule)]))?;
        let time = times::bounded(time).map_err(|rule| invalid_argument(pointer, rule))?;
        Ok(Value::Time(time))
    }
}

impl Operand for String {
    fn into_value(self, pointer: &str) -> Result<Value, Problem> {
        if self.len() > MAX_TEXT_BYTES {
            let detail = format!("must have at most {MAX_TEXT_BYTES} bytes");
            return Err(invalid(pointer, "too_long", detail));
        }
        // Postgres cannot store NUL in text.
        if self.contains('\0') {
            let detail = "must not contain the character NUL";
            return Err(invalid(pointer, "invalid_characters", detail));
        }
        Ok(Value::Text(self))
    }
}

fn invalid(pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Problem {
    invalid_argument(pointer, Rule::new(code, detail))
}
