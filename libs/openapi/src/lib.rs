//! What every OpenAPI document has in common, so that operations declare only what is theirs.
//!
//! An operation names its parameters, its bodies, its good answers, and in [`problems::CODES`] the
//! problems that only it has. Everything else follows from these and is added by [`finish`].

mod examples;
pub mod headers;
pub mod problems;
mod shape;
mod v3_0;
pub mod walk;

pub use v3_0::to_3_0;

use serde_json::{Value, json};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        OpenApi, RefOr, Schema,
        schema::Components,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

use quartet_common::{
    cli::OpenapiVersion,
    problem::{FieldError, Kind, ProblemBody, kinds},
};

/// Name of the security scheme that protected operations name: `security(("bearer" = []))`.
pub const BEARER: &str = "bearer";
/// A problem document (RFC 9457).
pub const PROBLEM: &str = "application/problem+json";

/// What any operation behind `quartet_http::layers` may answer with.
pub const EVERYWHERE: &[&Kind] = &[&kinds::INTERNAL, &kinds::TIMED_OUT];

/// Where the licence stands.
pub(crate) const LICENCE: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "#licence");

/// What a document says about itself.
#[derive(Clone, Copy, Debug)]
pub struct About {
    pub title: &'static str,
    pub description: &'static str,
    pub version: &'static str,
    /// Kinds of problems that any operation may answer with: those of whatever stands before them.
    pub everywhere: &'static [&'static Kind],
    /// The kinds of problems that only this service has.
    pub kinds: &'static [&'static Kind],
}

/// Finishes a document: what it is, and all that operations share. Gives pretty JSON with a final
/// newline, the same for the same input.
///
/// # Panics
/// When an operation names a code that no kind of problem has.
pub fn finish(mut document: OpenApi, about: &About) -> String {
    let components = document.components.get_or_insert_with(Components::default);
    let bearer = Http::builder()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("`access_token` of `POST /v1/core/sessions`"))
        .build();
    components
        .security_schemes
        .insert(BEARER.into(), SecurityScheme::Http(bearer).into());
    insert::<ProblemBody>(components);
    insert::<FieldError>(components);
    let mut document = serde_json::to_value(document).expect("a document is plain data");
    introduce(&mut document, about);
    shape::tidy(&mut document);
    walk::operations(&mut document, |_, _, operation| {
        operation.entry("security").or_insert_with(|| json!([]));
    });
    problems::add(&mut document, about);
    headers::add(&mut document);
    headers::drop_unused(&mut document);
    examples::add(&mut document);
    print(&document)
}

/// Title, licence, contact and server.
pub fn introduce(document: &mut Value, about: &About) {
    document["info"] = json!({
        "title": about.title,
        "description": about.description,
        "version": about.version,
        "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        "contact": {"name": "Quartet", "url": env!("CARGO_PKG_REPOSITORY")},
    });
    document["servers"] = json!([{"url": "/", "description": "This gateway"}]);
}

/// Pretty JSON with a final newline, the same for the same input.
pub fn print(document: &Value) -> String {
    format!("{document:#}\n")
}

/// A document, which is one of 3.1, in the version that is asked for.
pub fn in_version(document: String, version: OpenapiVersion) -> String {
    match version {
        OpenapiVersion::V3_1 => document,
        OpenapiVersion::V3_0 => copy_in_3_0(&document),
    }
}

/// The 3.0.3 copy of a finished document.
///
/// # Panics
/// When the text is no JSON.
pub fn copy_in_3_0(document: &str) -> String {
    let document = serde_json::from_str(document).expect("a finished document is JSON");
    print(&to_3_0(&document))
}

fn insert<T: ToSchema>(components: &mut Components) {
    let schema: RefOr<Schema> = <T as PartialSchema>::schema();
    components.schemas.insert(T::name().into_owned(), schema);
}
