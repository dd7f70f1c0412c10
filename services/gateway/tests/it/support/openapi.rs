//! An OpenAPI document, and a gateway that refuses what is not as it says.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn},
};
use serde_json::{Value, json};

use super::{Gateway, echo, route, serve, upstream};

/// Every kind of parameter, and of body.
pub(crate) fn document() -> Value {
    let mut paths = json!({
        "/query": {"get": {"operationId": "query", "parameters": query_parameters()}},
        "/object": {"get": {"operationId": "object", "parameters": [query("point", point())]}},
        "/body": {
            "post": {"operationId": "post_body", "requestBody": {"$ref": "#/components/requestBodies/Order"}},
            "put": {"operationId": "put_body", "requestBody": {"content": {
                "text/*": {}, "application/json": {"schema": {"$ref": "#/components/schemas/Order"}},
            }}},
            "patch": {"operationId": "patch_body"},
        },
    });
    extend(&mut paths, paths_with_parameters());
    json!({
        "openapi": "3.1.0",
        "info": {"title": "t", "version": "1"},
        "servers": [{"url": "https://example.org/v1/"}, {"url": "/"}],
        "paths": paths,
        "components": components(),
    })
}

fn extend(object: &mut Value, more: Value) {
    let Value::Object(more) = more else { panic!() };
    object.as_object_mut().unwrap().extend(more);
}

fn with(mut parameter: Value, more: Value) -> Value {
    extend(&mut parameter, more);
    parameter
}

fn query(name: &str, schema: Value) -> Value {
    json!({"name": name, "in": "query", "schema": schema})
}

fn in_path(name: &str, schema: Value) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": schema})
}

fn integers() -> Value {
    json!({"type": "array", "items": {"type": "integer"}, "maxItems": 3})
}

fn point() -> Value {
    json!({"type": "object", "required": ["x"], "additionalProperties": false,
        "properties": {"x": {"type": "integer"}, "y": {"type": "integer", "maximum": 9}}})
}

fn query_parameters() -> Value {
    json!([
        query("limit", json!({"type": "integer", "minimum": 1, "maximum": 100})),
        query("status", json!({"$ref": "#/components/schemas/Status"})),
        query("ratio", json!({"type": "number", "exclusiveMaximum": 1})),
        query("all", json!({"type": "boolean"})),
        query("either", json!({"type": ["integer", "string"], "maxLength": 3})),
        query("ids", integers()),
        with(query("commas", integers()), json!({"explode": false})),
        with(query("pipes", integers()), json!({"style": "pipeDelimited", "explode": false})),
        with(query("spaces", integers()), json!({"style": "spaceDelimited", "explode": false})),
        with(query("deep", point()), json!({"style": "deepObject"})),
        with(query("flat", point()), json!({"explode": false})),
        with(query("empty", json!({"type": "integer"})), json!({"allowEmptyValue": true})),
        {"name": "json", "in": "query", "content": {"application/json": {"schema": point()}}},
        query("name", json!({"type": "string", "minLength": 2, "pattern": "^[a-z é]+$"})),
    ])
}

fn paths_with_parameters() -> Value {
    let list = json!({"type": "array", "items": {"type": "integer"}});
    json!({
        "/needed": {"get": {"operationId": "needed", "parameters": [
            with(query("q", json!({"type": "string"})), json!({"required": true})),
            {"name": "X-Count", "in": "header", "required": true, "schema": {"type": "integer"}},
            {"name": "X-List", "in": "header", "schema": integers()},
            {"name": "theme", "in": "cookie", "schema": {"enum": ["dark", "light"]}},
            {"name": "Accept", "in": "header", "required": true, "schema": {"enum": ["never"]}},
        ]}},
        "/things/{id}": {
            "parameters": [in_path("id", json!({"type": "integer", "minimum": 1}))],
            "get": {"operationId": "get_thing"},
            "delete": {"operationId": "delete_thing", "parameters": [in_path("id", json!({"const": 7}))]},
        },
        "/things/mine": {"get": {"operationId": "mine"}},
        "/files/{name}.{ext}": {"get": {"operationId": "file", "parameters": [
            in_path("name", json!({"type": "string"})), in_path("ext", json!({"enum": ["txt", "png"]})),
        ]}},
        "/label/{ids}": {"get": {"operationId": "label", "parameters": [
            with(in_path("ids", list.clone()), json!({"style": "label", "explode": true})),
        ]}},
        "/simple/{ids}": {"get": {"operationId": "simple", "parameters": [in_path("ids", list)]}},
    })
}

fn components() -> Value {
    json!({
        "requestBodies": {"Order": {"required": true, "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/Order"}},
        }}},
        "schemas": {
            "Status": {"type": "string", "enum": ["open", "done"]},
            "Order": {
                "type": "object",
                "required": ["id", "email", "items"],
                "additionalProperties": false,
                "properties": {
                    "id": {"type": "string", "readOnly": true},
                    "email": {"type": "string", "maxLength": 20, "format": "email"},
                    "note": {"type": ["string", "null"]},
                    "items": {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Item"}},
                    "next": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Item"}]},
                    "labels": {"type": "object", "additionalProperties": {"type": "integer"}},
                },
            },
            "Item": {"type": "object", "required": ["count"], "properties": {
                "count": {"type": "integer", "minimum": 1}, "status": {"$ref": "#/components/schemas/Status"},
            }},
        },
    })
}

pub(crate) fn given(document: &Value) -> String {
    format!("document = '''{document}'''\n")
}

/// Counts what it is sent.
pub(crate) async fn counted(router: Router) -> (SocketAddr, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let layer = from_fn(move |request: Request, next: Next| {
        counter.fetch_add(1, Ordering::Relaxed);
        next.run(request)
    });
    (serve(router.layer(layer)).await, count)
}

pub(crate) async fn blocking(document: &Value, more: &str) -> (Gateway, Arc<AtomicUsize>) {
    let (address, count) = counted(echo()).await;
    let settings = [
        upstream(&[address]),
        given(document),
        route("all", "/*", "validate = \"block\""),
        more.to_owned(),
    ];
    (Gateway::start(&settings.concat()).await, count)
}

/// The first error of a problem: parameter or pointer, and code.
pub(crate) fn first_error(problem: &Value) -> (String, String) {
    let error = &problem["errors"][0];
    let named = error["parameter"].as_str().or(error["pointer"].as_str());
    let code = error["code"].as_str().unwrap_or_default();
    (named.unwrap_or_default().to_owned(), code.to_owned())
}
