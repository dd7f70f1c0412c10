//! The real documents, and what they say of their own examples.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderValue, Method};
use proptest::prelude::*;
use quartet_common::openapi::walk;
use serde_json::Value;

use super::*;
use crate::fuzz;

const DOCUMENTS: [(&str, &str); 4] = [
    ("core", include_str!("../../../core/openapi.json")),
    ("media", include_str!("../../../media/openapi.json")),
    ("links", include_str!("../../../links/openapi.json")),
    ("merged", include_str!("../../openapi.json")),
];

fn compile(document: &Value) -> ApiDocument {
    ApiDocument::compile(document, &CompileSettings::default()).unwrap()
}

/// The document in both versions.
fn versions(text: &str) -> [Value; 2] {
    let document: Value = serde_json::from_str(text).unwrap();
    let old = quartet_common::openapi::to_3_0(&document);
    [document, old]
}

/// `example`, and the values in `examples`.
fn examples(owner: &Value, document: &Value) -> Vec<Value> {
    let named = owner["examples"].as_object().into_iter().flatten();
    let named = named.map(|(_, example)| schema::resolved(document, example)["value"].clone());
    owner
        .get("example")
        .cloned()
        .into_iter()
        .chain(named)
        .collect()
}

#[test]
fn every_operation_of_the_services_can_be_checked() {
    for (name, text) in DOCUMENTS {
        for document in versions(text) {
            let (count, broken) = compile(&document).counts();
            assert!(count > 4, "{name}");
            assert_eq!(broken, 0, "{name} {}", document["openapi"]);
        }
    }
}

/// Of a parameter, or its schema.
fn example_of<'d>(parameter: &'d Value, document: &'d Value) -> Option<&'d Value> {
    let schema = schema::resolved(document, &parameter["schema"]);
    let first = |key: &str| schema.get(key)?.get(0);
    let own = parameter.get("example").or_else(|| schema.get("example"));
    own.or_else(|| first("examples"))
        .or_else(|| first("enum"))
        .or_else(|| schema.get("default"))
}

/// The examples of request bodies are valid, and an empty object is not, where anything is required.
#[test]
fn examples_of_bodies_are_valid() {
    let mut seen = 0;
    for (name, text) in DOCUMENTS {
        for mut document in versions(text) {
            let compiled = compile(&document);
            let shown = document.clone();
            walk::operations(&mut document, |path, method, operation| {
                let method: Method = method.to_uppercase().parse().unwrap();
                let (found, _) = compiled.operation(&method, path).unwrap();
                let Some(rule) = found.body() else { return };
                let contents = operation["requestBody"]["content"].as_object().unwrap();
                for (media_type, content) in contents {
                    let place = rule.contents().of_type(Some(media_type.as_bytes()));
                    let place = place.unwrap().unwrap();
                    for example in examples(content, &shown) {
                        seen += 1;
                        let result = rule.contents().check(place, example.to_string().as_bytes());
                        assert!(
                            result.is_ok(),
                            "{name} {}: {example} {result:?}",
                            found.name
                        );
                    }
                    let wrong = rule.contents().check(place, b"[]");
                    assert!(wrong.is_err(), "{name} {}", found.name);
                }
            });
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn examples_of_parameters_are_valid() {
    let mut seen = 0;
    for (name, text) in DOCUMENTS {
        for mut document in versions(text) {
            let compiled = compile(&document);
            let shown = document.clone();
            walk::operations(&mut document, |path, method, operation| {
                let method: Method = method.to_uppercase().parse().unwrap();
                let (mut filled, mut query) = (path.to_owned(), Vec::new());
                let mut headers = HeaderMap::new();
                let parameters = operation.get("parameters").and_then(Value::as_array);
                for parameter in parameters.into_iter().flatten() {
                    let key = parameter["name"].as_str().unwrap();
                    let Some(example) = example_of(parameter, &shown) else {
                        continue;
                    };
                    seen += 1;
                    let text = example.as_str().map_or(example.to_string(), str::to_owned);
                    match parameter["in"].as_str().unwrap() {
                        "path" => filled = filled.replace(&format!("{{{key}}}"), &text),
                        "query" => query.push((key, text)),
                        _ => {
                            let key: http::HeaderName = key.parse().unwrap();
                            headers.insert(key, HeaderValue::try_from(text).unwrap());
                        }
                    }
                }
                let mut encoded = url::form_urlencoded::Serializer::new(String::new());
                let query = encoded.extend_pairs(query).finish();
                let (found, base) = compiled.operation(&method, &filled).unwrap();
                let sent = SentParameters {
                    path: &filled,
                    query: &query,
                    headers: &headers,
                };
                let violations = found.check_parameters(&sent, base, true);
                assert_eq!(violations, [], "{name} {} {filled}?{query}", found.name);
            });
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn examples_of_responses_are_valid() {
    let mut seen = 0;
    for (name, text) in DOCUMENTS {
        for mut document in versions(text) {
            let compiled = compile(&document);
            let shown = document.clone();
            walk::operations(&mut document, |path, method, operation| {
                let method: Method = method.to_uppercase().parse().unwrap();
                let (found, _) = compiled.operation(&method, path).unwrap();
                for (status, response) in operation["responses"].as_object().unwrap() {
                    let response = schema::resolved(&shown, response);
                    let rule = found.response(status.parse().unwrap()).unwrap().unwrap();
                    let contents = response["content"].as_object().into_iter().flatten();
                    for (media_type, content) in contents {
                        let of = Some(media_type.as_bytes());
                        let place = rule.contents().of_type(of).unwrap().unwrap();
                        if !rule.contents().has_rules(place, of) {
                            continue;
                        }
                        for example in examples(content, &shown) {
                            seen += 1;
                            let body = example.to_string();
                            let result = rule.contents().check(place, body.as_bytes());
                            let name = format!("{name} {} {status}", found.name);
                            assert!(result.is_ok(), "{name}: {example} {result:?}");
                        }
                    }
                }
            });
        }
    }
    assert!(seen > 50, "{seen}");
}

/// A document with every style, and what is said of it: fields of the document alone.
fn styles() -> ApiDocument {
    let list = serde_json::json!({"type": "array", "items": {"type": "integer"}, "maxItems": 2});
    let object = serde_json::json!({"type": "object", "required": ["a"],
        "properties": {"a": {"type": "integer"}, "b": {"type": "array", "items": {"type": "string"}}}});
    let mut parameters = Vec::new();
    for style in ["form", "spaceDelimited", "pipeDelimited", "deepObject"] {
        for (kind, schema) in [("list", &list), ("object", &object)] {
            for explode in [false, true] {
                parameters.push(
                    serde_json::json!({"name": format!("{style}{kind}{explode}"), "in": "query",
                    "style": style, "explode": explode, "schema": schema}),
                );
            }
        }
    }
    for (name, style) in [("l", "label"), ("m", "matrix"), ("s", "simple")] {
        parameters.push(
            serde_json::json!({"name": name, "in": "path", "required": true, "style": style,
            "explode": true, "schema": object}),
        );
    }
    parameters.push(serde_json::json!({"name": "json", "in": "query", "content": {"application/json": {"schema": object}}}));
    parameters.push(serde_json::json!({"name": "n", "in": "query", "schema": {"type": ["number", "boolean", "null"]}}));
    compile(&serde_json::json!({"openapi": "3.1.0", "paths": {
        "/{l}/{m}/{s}": {"get": {"parameters": parameters}},
        "/{a}.{b}-{c}/x": {"get": {}},
    }}))
}

fn is_judged_by_the_document(input: &[u8]) -> Result<(), TestCaseError> {
    static STYLES: LazyLock<ApiDocument> = LazyLock::new(styles);
    let text = String::from_utf8_lossy(input);
    let (path, query) = text.split_once('?').unwrap_or((&text, ""));
    let headers = HeaderMap::new();
    let Ok((operation, base)) = STYLES.operation(&Method::GET, path) else {
        return Ok(());
    };
    let sent = SentParameters {
        path,
        query,
        headers: &headers,
    };
    let found = operation.check_parameters(&sent, base, true);
    prop_assert!(found.len() <= violation::MAX_VIOLATIONS);
    for violation in found {
        let (kind, name) = violation.field.split_once('.').unwrap();
        let is_named = name == "*" || operation.parameters.iter().any(|it| *it.name == *name);
        prop_assert!(
            ["path", "query"].contains(&kind) && is_named,
            "{}",
            violation.field
        );
    }
    Ok(())
}

#[test]
fn fuzz_parameters() {
    let dictionary = [
        "/",
        "?",
        "&",
        "=",
        ",",
        ".",
        ";",
        "|",
        "+",
        "%20",
        "%7C",
        "%5B",
        "%5D",
        "[a]",
        "a=1",
        ";m=",
        "formlistfalse=",
        "formobjecttrue=",
        "deepObjectobjecttrue[a]=",
        "json=",
        "n=",
        "{",
        "}",
        "\"",
        "%",
        "%ff",
        "1e400",
        "-",
        "\u{e9}",
    ];
    fuzz::run("parameters", &dictionary, is_judged_by_the_document);
}

/// A pattern that would take years ends, and its value is not taken for a match.
#[test]
fn patterns_end() {
    let document = serde_json::json!({"openapi": "3.1.0", "paths": {"/a": {"get": {"parameters": [
        {"name": "p", "in": "query", "schema": {"type": "string", "pattern": "^(?=a)(a+)+$"}},
        {"name": "q", "in": "query", "schema": {"type": "string", "pattern": "^(a+)+$"}},
    ]}}}});
    let compiled = compile(&document);
    let headers = HeaderMap::new();
    let (operation, base) = compiled.operation(&Method::GET, "/a").unwrap();
    let codes = |query: &str| {
        let sent = SentParameters {
            path: "/a",
            query,
            headers: &headers,
        };
        let found = operation.check_parameters(&sent, base, false);
        let codes = found.iter().map(|it| format!("{} {}", it.field, it.code));
        codes.collect::<Vec<_>>()
    };
    let long = "a".repeat(30_000);
    assert_eq!(codes("p=aaa&q=aaa"), [""; 0]);
    let began = std::time::Instant::now();
    let found = codes(&format!("p={long}!&q={long}!"));
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    assert_eq!(
        found,
        ["query.p invalid_characters", "query.q invalid_characters"]
    );
}
