//! What every OpenAPI document has in common, so that operations declare only what is theirs.

mod shape;
mod v3_0;
pub mod walk;

pub use v3_0::to_3_0;

use serde_json::{Map, Value, json};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        OpenApi, RefOr, Schema,
        schema::Components,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

use crate::problem::{FieldError, ProblemBody};

/// Name of the security scheme that protected operations name: `security(("bearer" = []))`.
pub const BEARER: &str = "bearer";

/// Errors that any operation may answer with: status, description, needs a token, needs a body.
const COMMON: [(u16, &str, bool, bool); 10] = [
    (
        400,
        "A parameter, a header or the JSON syntax is wrong",
        false,
        false,
    ),
    (
        401,
        "The access token is missing, wrong or expired",
        true,
        false,
    ),
    (408, "The request took too long to arrive", false, true),
    (413, "The request body is too large", false, true),
    (415, "The request body is not JSON", false, true),
    (
        422,
        "The request body breaks a rule; `errors` names each field",
        false,
        true,
    ),
    (
        429,
        "Too many requests; `Retry-After` tells when to try again",
        false,
        false,
    ),
    (431, "The request's header is too large", false, false),
    (500, "Something broke on our side", false, false),
    (
        503,
        "A part that this needs does not answer just now; `Retry-After` is set",
        false,
        false,
    ),
];

/// Finishes a document: licence, server, security scheme, and the problem responses that every
/// operation shares. The version stays the one of the crate that derived the document. Gives
/// pretty JSON with a final newline, the same for the same input.
pub fn finish(mut document: OpenApi, title: &str, description: &str) -> String {
    document.info.title = title.into();
    document.info.description = Some(description.into());
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
    document["info"]["license"] =
        json!({"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"});
    document["info"]["contact"] = json!({"name": "Quartet"});
    document["servers"] = json!([{"url": "/", "description": "This gateway"}]);
    shape::tidy(&mut document);
    walk::operations(&mut document, |_, _, operation| {
        operation.entry("security").or_insert_with(|| json!([]));
        add_problems(operation);
    });
    print(&document)
}

/// Pretty JSON with a final newline, the same for the same input.
pub fn print(document: &Value) -> String {
    format!("{document:#}\n")
}

/// The 3.0.3 copy of a finished document.
pub fn copy_in_3_0(document: &str) -> String {
    let document = serde_json::from_str(document).expect("a finished document is JSON");
    print(&to_3_0(&document))
}

fn insert<T: ToSchema>(components: &mut Components) {
    let schema: RefOr<Schema> = <T as PartialSchema>::schema();
    components.schemas.insert(T::name().into_owned(), schema);
}

fn add_problems(operation: &mut Map<String, Value>) {
    let secured = operation
        .get("security")
        .and_then(Value::as_array)
        .is_some_and(|s| !s.is_empty());
    let has_body = operation.get("requestBody").is_some();
    let Some(responses) = operation
        .get_mut("responses")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    for (status, description, needs_token, needs_body) in COMMON {
        if (secured || !needs_token) && (has_body || !needs_body) {
            let entry = responses
                .entry(status.to_string())
                .or_insert_with(|| json!({}));
            if entry.get("description").is_none_or(|text| text == "") {
                entry["description"] = description.into();
            }
        }
    }
    for (status, response) in responses.iter_mut() {
        if status.starts_with(['4', '5']) && response.get("content").is_none() {
            response["content"] = json!({"application/problem+json": {
                "schema": {"$ref": "#/components/schemas/Problem"}
            }});
        }
        if status == "429" || status == "503" {
            response["headers"] = json!({"Retry-After": {
                "description": "Seconds after which the request may be sent again",
                "schema": {"type": "integer", "minimum": 1}
            }});
        }
    }
    responses.sort_keys();
}
