//! The codes of problems, as an enum.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use heck::ToUpperCamelCase as _;
use serde_json::Value;

use crate::document;

pub(crate) fn module(document: &Value) -> anyhow::Result<String> {
    let mut codes = BTreeSet::new();
    let known = &document["components"]["schemas"]["ProblemCode"];
    find_codes(known, &mut codes);
    for operation in document::operations(document) {
        document::problems(operation).for_each(|problem| find_codes(problem, &mut codes));
    }
    let (mut variants, mut to, mut from) = (String::new(), String::new(), String::new());
    for code in codes {
        let name = code.to_upper_camel_case();
        writeln!(variants, "    /// `{code}`\n    {name},")?;
        writeln!(to, "            Self::{name} => \"{code}\",")?;
        writeln!(from, "            \"{code}\" => Self::{name},")?;
    }
    Ok(include_str!("problem_code.txt")
        .replace("VARIANTS", &variants)
        .replace("TO_TEXT", &to)
        .replace("FROM_TEXT", &from))
}

/// Every text that stands for a `code`: in enums of a schema and in examples.
fn find_codes(value: &Value, codes: &mut BTreeSet<String>) {
    let enumerated = value["enum"].as_array().into_iter().flatten();
    codes.extend(enumerated.filter_map(Value::as_str).map(str::to_owned));
    let examples = value["examples"].as_object().into_iter().flatten();
    let values = examples.map(|(_, example)| &example["value"]);
    for example in values.chain([&value["example"]]) {
        codes.extend(example["code"].as_str().map(str::to_owned));
    }
}
