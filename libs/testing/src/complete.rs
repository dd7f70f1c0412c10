//! Whether a document has everything that readers, generators and linters need.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::contract::{Contract, Operation};
use quartet_common::openapi::{PROBLEM, walk};

/// # Panics
/// With everything that the document lacks.
pub fn assert_complete(contract: &Contract) {
    let mut missing = Vec::new();
    let mut ids = BTreeSet::new();
    for operation in contract.operations() {
        let name = &operation.id;
        if !is_verb_noun(name) || !ids.insert(name.clone()) {
            missing.push(format!("{name}: the operationId is not a unique verb_noun"));
        }
        missing.extend(
            heads(contract, operation)
                .into_iter()
                .map(|what| format!("{name}: {what}")),
        );
        missing.extend(bodies(contract, operation));
    }
    missing.extend(shapes(contract.document()));
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// What generators cannot handle: unnamed objects, and alternatives without a discriminator.
fn shapes(document: &Value) -> Vec<String> {
    let mut missing = Vec::new();
    let named: Vec<String> = entries(&document["components"]["schemas"])
        .map(|(_, schema)| schema.to_string())
        .collect();
    walk::schemas(&mut document.clone(), &mut |schema| {
        if schema.get("properties").is_some() && !named.contains(&schema.to_string()) {
            missing.push(format!("an object without a name: {schema}"));
        }
        for word in ["oneOf", "anyOf"] {
            let choices = schema[word].as_array().into_iter().flatten();
            let others = choices.filter(|choice| choice["type"] != "null").count();
            if others > 1 && schema.get("discriminator").is_none() {
                missing.push(format!("alternatives without a discriminator: {schema}"));
            }
        }
    });
    missing
}

fn heads(contract: &Contract, operation: &Operation) -> Vec<String> {
    let value = &operation.value;
    let mut missing = Vec::new();
    for word in ["summary", "description"] {
        if value[word].as_str().unwrap_or_default().is_empty() {
            missing.push(format!("no {word}"));
        }
    }
    if !value["security"].is_array() {
        missing.push("`security` is missing".into());
    }
    let known: Vec<&Value> = contract.document()["tags"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|tag| tag["description"].is_string())
        .map(|tag| &tag["name"])
        .collect();
    match value["tags"].as_array().map(Vec::as_slice) {
        Some([tag]) if known.contains(&tag) => {}
        tags => missing.push(format!("not exactly one tag with a description: {tags:?}")),
    }
    for (status, response) in entries(&value["responses"]) {
        if response["description"]
            .as_str()
            .unwrap_or_default()
            .is_empty()
        {
            missing.push(format!("{status} is not described"));
        }
    }
    let parameters = value["parameters"].as_array();
    for parameter in parameters.into_iter().flatten() {
        if parameter["description"]
            .as_str()
            .unwrap_or_default()
            .is_empty()
        {
            missing.push(format!("{} is not described", parameter["name"]));
        }
        if parameter["in"] == "path" && contract.resolve(&parameter["schema"])["pattern"].is_null()
        {
            // The gateway rejects control characters in paths with 400, whatever the service says.
            missing.push(format!("{} has no pattern", parameter["name"]));
        }
    }
    missing
}

/// Every body has complete and valid examples; every problem has one of each code.
fn bodies(contract: &Contract, operation: &Operation) -> Vec<String> {
    let mut missing = Vec::new();
    let responses = entries(&operation.value["responses"]);
    let bodies = responses.map(|(status, response)| (status.as_str(), response));
    let bodies = bodies.chain([("request", &operation.value["requestBody"])]);
    for (which, body) in bodies {
        for (kind, media) in entries(&body["content"]) {
            let name = format!("{} {which} {kind}", operation.id);
            let examples = contract.examples(media);
            if examples.is_empty() {
                missing.push(format!("{name}: no example"));
            }
            for example in examples {
                if kind.ends_with("json")
                    && let Err(what) = contract.fits(&name, &media["schema"], example)
                {
                    missing.push(format!("{name}: the example is wrong: {what}"));
                }
            }
            if kind == PROBLEM {
                let codes = body["x-problem-codes"].as_array();
                let codes: Vec<&str> = codes
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect();
                let shown: Vec<&str> = entries(&media["examples"])
                    .map(|(code, _)| code.as_str())
                    .collect();
                if codes != shown {
                    missing.push(format!("{name}: codes {codes:?}, examples {shown:?}"));
                }
            }
        }
    }
    missing
}

fn is_verb_noun(name: &str) -> bool {
    name.split('_').count() > 1
        && name.split('_').all(|word| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        })
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}
