//! Values that are not of their type, named by their field.
//!
//! Where a value passes validation and cannot be read, such as a time or a large integer, async-graphql
//! reports the types around it and neither argument nor field. So these types are read without a
//! failure, and what knows the place asks for the value.

use std::borrow::Cow;

use async_graphql::{InputType, InputValueError, InputValueResult, Value, registry::Registry};
use chrono::{DateTime, Utc};
use quartet_common::{
    checks::Violation,
    problem::{Problem, Rule},
};

use crate::graphql::error::unreadable;

/// A value, if the one that was sent is of the type.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Parsed<T>(Option<T>);

/// A type whose values validation does not check completely.
pub(super) trait Readable: InputType {
    fn rule() -> Rule;
}

impl Readable for i32 {
    fn rule() -> Rule {
        let detail = format!("must be an Int, from {} to {}", Self::MIN, Self::MAX);
        Rule::new("out_of_range", detail)
    }
}

impl Readable for DateTime<Utc> {
    fn rule() -> Rule {
        let detail = "must be a DateTime, such as 2026-03-14T09:26:53Z";
        Rule::new("invalid_time", detail)
    }
}

impl<T: Readable> Parsed<T> {
    /// # Errors
    /// The rule of the type.
    pub(super) fn read(self) -> Result<T, Rule> {
        self.0.ok_or_else(T::rule)
    }

    pub(super) fn ok(self) -> Option<T> {
        self.0
    }
}

/// # Errors
/// `BAD_USER_INPUT`, which names the argument.
pub(super) fn argument<T: Readable>(
    value: Option<Parsed<T>>,
    pointer: &'static str,
) -> Result<Option<T>, Problem> {
    let value = value.map(Parsed::read).transpose();
    value.map_err(|rule| unreadable([(pointer, rule)]))
}

/// `BAD_USER_INPUT` with every field that cannot be read.
pub(super) fn all_unreadable(violations: Vec<Violation<&'static str>>) -> Problem {
    unreadable(violations.into_iter().map(|it| (it.field, it.rule)))
}

impl From<i32> for Parsed<i32> {
    fn from(value: i32) -> Self {
        Self(Some(value))
    }
}

impl<T: Readable> InputType for Parsed<T> {
    type RawValueType = T::RawValueType;

    fn type_name() -> Cow<'static, str> {
        T::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        T::create_type_info(registry)
    }

    fn parse(value: Option<Value>) -> InputValueResult<Self> {
        let value = value.ok_or_else(|| InputValueError::expected_type(Value::Null))?;
        Ok(Self(T::parse(Some(value)).ok()))
    }

    fn to_value(&self) -> Value {
        self.0.as_ref().map_or(Value::Null, T::to_value)
    }

    fn as_raw_value(&self) -> Option<&T::RawValueType> {
        self.0.as_ref().and_then(T::as_raw_value)
    }
}
