//! The OpenAPI document by which tests of the release before judge today's service.

use serde_json::{Map, Value};

/// The same document with the operations that `known` has too: those that were added are
/// nobody's business yet, and the gateway of the release before need not lead to them.
pub(super) fn without_new_operations(mut document: Value, known: &Value) -> Value {
    let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) else {
        return document;
    };
    let nothing = Map::new();
    let known = known.get("paths").and_then(Value::as_object);
    let known = known.unwrap_or(&nothing);
    paths.retain(|path, _| known.contains_key(path));
    for (path, operations) in paths {
        if let (Some(operations), Some(known)) = (operations.as_object_mut(), known.get(path)) {
            operations.retain(|method, _| known.get(method).is_some());
        }
    }
    document
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::without_new_operations;

    #[test]
    fn only_known_operations_stay_as_they_are_today() {
        let today = json!({"info": 2, "paths": {
            "/a": {"get": {"today": true}, "put": {}},
            "/b": {"get": {}},
        }});
        let known = json!({"info": 1, "paths": {"/a": {"get": {}, "delete": {}}, "/c": {}}});
        assert_eq!(
            without_new_operations(today, &known),
            json!({"info": 2, "paths": {"/a": {"get": {"today": true}}}})
        );
    }
}
