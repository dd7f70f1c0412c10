//! The second door: GraphQL over HTTP, WebSocket and server-sent events.

mod clicks;
mod description;
mod error;
mod execute;
mod explorer;
mod filter;
mod guard;
pub(crate) mod http;
mod input;
mod link;
mod mutation;
mod negotiation;
mod order;
mod page;
mod query;
mod sse;
mod subscription;
mod websocket;

use std::sync::Arc;

use chrono::{DateTime, Utc};

use self::{mutation::Mutation, query::Query, subscription::Subscription};
use crate::{
    config::{Config, GraphQl},
    domain::{feeds::Feeds, links::Links},
};

pub(crate) type Schema = async_graphql::Schema<Query, Mutation, Subscription>;

/// For whom a document is executed. Fields may rely on it: nothing is executed without.
#[derive(Clone, Debug)]
struct Viewer {
    subject: Arc<str>,
}

/// The schema with what its resolvers need.
pub(crate) fn schema(config: &Arc<Config>, links: Links, feeds: Feeds) -> Schema {
    builder(&config.graphql)
        .data(Arc::clone(config))
        .data(links)
        .data(feeds)
        .finish()
}

/// The schema in the schema definition language, with a final newline.
pub(crate) fn sdl() -> String {
    let options = async_graphql::SDLExportOptions::new()
        .sorted_fields()
        .sorted_enum_items();
    let schema = async_graphql::Schema::build(Query, Mutation, Subscription).finish();
    let mut text = schema.sdl_with_options(options.prefer_single_line_descriptions());
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn builder(settings: &GraphQl) -> async_graphql::SchemaBuilder<Query, Mutation, Subscription> {
    let builder = async_graphql::Schema::build(Query, Mutation, Subscription)
        .limit_complexity(settings.max_cost);
    if settings.introspection {
        return builder;
    }
    // "Did you mean" would give the schema away word by word.
    builder.disable_introspection().disable_suggestions()
}

/// A time that Postgres can hold and that ISO 8601 writes with four digits.
fn bounded_time(at: DateTime<Utc>, pointer: &str) -> Result<DateTime<Utc>, crate::error::Error> {
    use chrono::Datelike;
    if (1970..=9999).contains(&at.year()) {
        return Ok(at);
    }
    let detail = "must lie between the years 1970 and 9999";
    Err(crate::error::Error::field(pointer, "out_of_range", detail))
}
