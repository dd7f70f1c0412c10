//! The OpenAPI document against which the tests of the last release check today's service.

use serde_json::Value;

/// Today's document without the operations that `released` lacks: no test of the release uses them,
/// and the gateway of the release need not route to them.
pub(super) fn without_new_operations(mut today: Value, released: &Value) -> Value {
    if let Some(paths) = today.get_mut("paths").and_then(Value::as_object_mut) {
        let released = &released["paths"];
        paths.retain(|path, _| released.get(path).is_some());
        for (path, operations) in paths {
            if let Some(operations) = operations.as_object_mut() {
                operations.retain(|method, _| released[path].get(method).is_some());
            }
        }
    }
    today
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::without_new_operations;

    #[test]
    fn released_operations_keep_their_description_of_today() {
        let today = json!({"info": 2, "paths": {
            "/a": {"get": {"today": true}, "put": {}},
            "/b": {"get": {}},
        }});
        let released = json!({"info": 1, "paths": {"/a": {"get": {}, "delete": {}}, "/c": {}}});
        assert_eq!(
            without_new_operations(today, &released),
            json!({"info": 2, "paths": {"/a": {"get": {"today": true}}}})
        );
    }
}
