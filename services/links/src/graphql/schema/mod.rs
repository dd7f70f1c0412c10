//! The schema: types, arguments and resolvers.
//!
//! A resolver parses its arguments, calls one function of `domain` and converts the result; it
//! opens no transaction. The documentation of types and fields is public: it is the description
//! that introspection and `schema.graphql` show.

mod clicks;
mod link;
mod link_input;
mod list;
mod metering;
mod mutation;
mod parsed;
mod query;
mod scope;
mod subscription;
mod turns;

use async_graphql::{Request, SchemaBuilder};
use chrono::{DateTime, Utc};
use quartet_auth::Actor;

use self::{
    metering::Metering, mutation::Mutation, query::Query, subscription::Subscription, turns::Turns,
};
use crate::{domain, graphql::budget::Meter};

pub(super) use self::metering::validate_only;

pub(super) type Schema = async_graphql::Schema<Query, Mutation, Subscription>;

/// The schema with what its resolvers need.
pub(super) fn build(context: &domain::Context) -> Schema {
    let settings = &context.config.graphql;
    let builder = types()
        .extension(Metering)
        .data(context.clone())
        .data(Turns::default());
    if settings.introspection {
        return builder.finish();
    }
    // Suggestions ("Did you mean ...") would reveal the schema name by name.
    builder
        .disable_introspection()
        .disable_suggestions()
        .finish()
}

/// Adds to a request what its resolvers need: who acts, the meter, and a
/// loader of click series, whose cache lives as long as the request.
pub(super) fn scoped(
    request: Request,
    context: &domain::Context,
    actor: Actor,
    meter: Meter,
) -> Request {
    let loader = clicks::series_loader(context.clone(), actor.clone(), meter.clone());
    request.data(actor).data(meter).data(loader)
}

/// The schema in the schema definition language, with a final newline.
pub(crate) fn sdl() -> String {
    let options = async_graphql::SDLExportOptions::new()
        .sorted_fields()
        .sorted_enum_items()
        .prefer_single_line_descriptions();
    let mut text = types().finish().sdl_with_options(options);
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn types() -> SchemaBuilder<Query, Mutation, Subscription> {
    async_graphql::Schema::build(Query, Mutation, Subscription)
        .override_output_type_description::<DateTime<Utc>>(
            "A time in the form of RFC 3339, such as `2026-03-14T09:26:53.589793+00:00`. Responses are in UTC.",
        )
}
