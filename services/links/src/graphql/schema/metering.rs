//! Where async-graphql meets the budget: the cost is charged after the validation that computes it,
//! and every field of the response is counted as soon as it has a value.

use std::sync::Arc;

use async_graphql::{
    Request, Response, ServerError, ServerResult, ValidationResult, Value,
    extensions::{
        Extension, ExtensionContext, ExtensionFactory, NextExecute, NextResolve, NextValidation,
        ResolveInfo,
    },
};
use async_trait::async_trait;

use crate::graphql::{budget::Meter, error::request_error};

/// Marks a request that is validated only.
struct ValidateOnly;

/// The request, to be validated and not executed, at no cost.
pub(crate) fn validate_only(request: Request) -> Request {
    request.data(ValidateOnly)
}

pub(super) struct Metering;

impl ExtensionFactory for Metering {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self)
    }
}

#[async_trait]
impl Extension for Metering {
    async fn validation(
        &self,
        ctx: &ExtensionContext<'_>,
        next: NextValidation<'_>,
    ) -> Result<ValidationResult, Vec<ServerError>> {
        let result = next.run(ctx).await?;
        if let Some(meter) = ctx.data_opt::<Meter>() {
            let charged = meter.charge(result.complexity);
            charged.map_err(|problem| vec![request_error(&problem)])?;
        }
        Ok(result)
    }

    /// Runs once for a query or a mutation, and once for each event of a subscription.
    async fn execute(
        &self,
        ctx: &ExtensionContext<'_>,
        operation_name: Option<&str>,
        next: NextExecute<'_>,
    ) -> Response {
        if ctx.data_opt::<ValidateOnly>().is_some() {
            return Response::default();
        }
        if let Some(meter) = ctx.data_opt::<Meter>() {
            meter.begin_response();
        }
        next.run(ctx, operation_name).await
    }

    async fn resolve(
        &self,
        ctx: &ExtensionContext<'_>,
        info: ResolveInfo<'_>,
        next: NextResolve<'_>,
    ) -> ServerResult<Option<Value>> {
        let key = info.alias.unwrap_or(info.name).len();
        let value = next.run(ctx, info).await?;
        if let Some(meter) = ctx.data_opt::<Meter>() {
            let bytes = key + 4 + value.as_ref().map_or(0, bytes);
            let counted = meter.count(bytes);
            counted.map_err(|problem| request_error(&problem))?;
        }
        Ok(value)
    }
}

/// The bytes of a value itself. What is inside objects and lists was counted with its fields.
fn bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Enum(name) => name.len() + 2,
        Value::Binary(bytes) => bytes.len(),
        Value::Number(_) => 8,
        Value::Null | Value::Boolean(_) => 5,
        Value::List(items) => 2 + items.len(),
        Value::Object(_) => 2,
    }
}
