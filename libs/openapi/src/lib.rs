//! Completes the OpenAPI documents that the services describe with utoipa.
//!
//! An operation declares its parameters, its bodies, its successful responses and, in
//! [`quartet_common::openapi::CODES`], the problems that are its own. Everything else follows from
//! these and is added by [`finish`].
//!
//! Used by `quartet-documents` at build time, and by the gateway for its own operations. What a
//! service needs while it runs is in [`quartet_common::openapi`].

mod examples;
pub mod headers;
mod origin;
pub mod problems;
mod shape;

pub use origin::Origin;

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
    openapi::{BEARER, print, walk},
    problem::{FieldError, Kind, ProblemBody, kinds},
};

/// Problems that any operation behind `quartet_http::layers` may return.
pub const EVERYWHERE: &[&Kind] = &[&kinds::INTERNAL, &kinds::TIMED_OUT];

/// Completes what utoipa describes with all that operations share. Title and description are those
/// of the document. Returns pretty JSON with a final newline, always the same for the same input.
///
/// # Panics
/// When an operation names a code that no kind of problem has.
pub fn finish(mut document: OpenApi, origin: &Origin) -> String {
    let components = document.components.get_or_insert_with(Components::default);
    let bearer = Http::builder()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some(
            "The `access_token` returned by `POST /v1/core/sessions`",
        ))
        .build();
    components
        .security_schemes
        .insert(BEARER.into(), SecurityScheme::Http(bearer).into());
    insert::<ProblemBody>(components);
    insert::<FieldError>(components);
    let mut document = serde_json::to_value(document).expect("a document is plain data");
    introduce(&mut document, origin.version);
    if let Some(service) = origin.service {
        own_documents(&mut document, service);
    }
    shape::tidy(&mut document);
    walk::operations(&mut document, |_, _, operation| {
        operation.entry("security").or_insert_with(|| json!([]));
    });
    problems::add(&mut document, origin);
    headers::add(&mut document);
    headers::drop_unused(&mut document);
    examples::add(&mut document);
    print(&document)
}

/// Version, license, contact and server.
pub fn introduce(document: &mut Value, version: &str) {
    let info = &mut document["info"];
    info["version"] = version.into();
    info["license"] = json!({"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"});
    info["contact"] = json!({"name": "Quartet", "url": env!("CARGO_PKG_REPOSITORY")});
    document["servers"] = json!([{"url": "/", "description": "This gateway"}]);
}

/// The two operations of every service that return its document; `quartet-service` serves them.
fn own_documents(document: &mut Value, service: &str) {
    const TAG: &str = "documents";
    let operation = |id: String, summary: &str, description: String| {
        json!({"get": {
            "tags": [TAG],
            "summary": summary,
            "description": description,
            "operationId": id,
            "responses": {"200": {
                "description": "The OpenAPI document",
                "content": {"application/json": {"schema": {}}},
            }},
        }})
    };
    document["paths"][format!("/v1/{service}/openapi.json")] = operation(
        format!("get_{service}_openapi"),
        "Get the OpenAPI document",
        format!("The OpenAPI 3.1 document of the {service} service."),
    );
    document["paths"][format!("/v1/{service}/openapi-3.0.json")] = operation(
        format!("get_{service}_openapi_3_0"),
        "Get the OpenAPI document in version 3.0",
        "The same document in OpenAPI 3.0.3, for tools that do not support 3.1.".to_owned(),
    );
    let tags = &mut document["tags"];
    if tags.is_null() {
        *tags = json!([]);
    }
    if let Some(tags) = tags.as_array_mut()
        && tags.iter().all(|tag| tag["name"] != TAG)
    {
        tags.push(json!({"name": TAG, "description": "Machine-readable descriptions of the API"}));
    }
}

fn insert<T: ToSchema>(components: &mut Components) {
    let schema: RefOr<Schema> = <T as PartialSchema>::schema();
    components.schemas.insert(T::name().into_owned(), schema);
}
