//! The problem codes, as an enum.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::ensure;
use heck::ToUpperCamelCase as _;
use serde_json::Value;

use crate::document;

const FRAME: &str = include_str!("problem_code.txt");

/// From the whole document: GraphQL uses the same codes.
pub(crate) fn module(document: &Value) -> anyhow::Result<String> {
    let codes: BTreeSet<&str> = document::operations(document).flat_map(codes).collect();
    ensure!(!codes.is_empty(), "the document has no problem code");
    let (mut variants, mut to, mut from) = (String::new(), String::new(), String::new());
    for code in codes {
        let name = code.to_upper_camel_case();
        writeln!(
            variants,
            "    /// `{code}`{}\n    {name},",
            title(document, code)
        )?;
        writeln!(to, "            Self::{name} => \"{code}\",")?;
        writeln!(from, "            \"{code}\" => Self::{name},")?;
    }
    Ok(FRAME
        .replace("VARIANTS", &variants)
        .replace("TO_TEXT", &to)
        .replace("FROM_TEXT", &from))
}

fn codes(operation: &Value) -> impl Iterator<Item = &str> {
    let responses = operation["responses"].as_object().into_iter().flatten();
    let lists = responses.filter_map(|(_, response)| response["x-problem-codes"].as_array());
    lists.flatten().filter_map(Value::as_str)
}

/// The title of the problem, from its example in the document.
fn title(document: &Value, code: &str) -> String {
    let example = &document["components"]["examples"][code]["value"]["title"];
    let title = example.as_str().map(|title| format!(": {title}."));
    title.unwrap_or_default()
}
