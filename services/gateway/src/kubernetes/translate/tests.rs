//! Objects that no API server would accept, and those that the configuration refuses.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{config::load::Sources, kubernetes::objects::ObjectName, routing::Auth};

const SETTINGS: &str = "shipped_routes = false\n[kubernetes]\nenabled = true\n";

fn objects(route: Value) -> Objects {
    objects_with(route, &json!({}))
}

/// The route `other` has these annotations.
fn objects_with(route: Value, annotations: &Value) -> Objects {
    let mut objects = Objects::default();
    let mut insert = |kind, object| objects.insert(kind, object, 100).unwrap();
    let spec = json!({ "controllerName": "quartet.dev/gateway" });
    insert(
        Kind::GatewayClass,
        json!({ "metadata": { "name": "c" }, "spec": spec }),
    );
    let listener = json!({ "name": "http", "port": 80, "protocol": "HTTP" });
    insert(
        Kind::Gateway,
        json!({
            "metadata": { "namespace": "n", "name": "g" },
            "spec": { "gatewayClassName": "c", "listeners": [listener] },
        }),
    );
    insert(
        Kind::Service,
        json!({
            "metadata": { "namespace": "n", "name": "s" },
            "spec": { "ports": [{ "port": 80 }] },
        }),
    );
    for (name, spec) in [("good", good()), ("other", route)] {
        let mut metadata = json!({ "namespace": "n", "name": name });
        if name == "other" {
            metadata["annotations"] = annotations.clone();
        }
        insert(
            Kind::HttpRoute,
            json!({ "metadata": metadata, "spec": spec }),
        );
    }
    objects
}

/// With every field that is supported.
fn good() -> Value {
    let header = json!({ "name": "x-a", "value": "b" });
    let replace = json!({ "type": "ReplacePrefixMatch", "replacePrefixMatch": "/b" });
    let backend = json!({ "name": "s", "port": 80, "weight": 2 });
    json!({
        "parentRefs": [{ "name": "g", "namespace": "n", "sectionName": "http", "port": 80 }],
        "hostnames": ["a.test", "*.b.test"],
        "rules": [
            {
                "matches": [{
                    "path": { "type": "PathPrefix", "value": "/a" },
                    "headers": [header],
                    "queryParams": [header],
                    "method": "GET",
                }],
                "filters": [
                    { "type": "RequestHeaderModifier", "requestHeaderModifier": { "set": [header] } },
                    { "type": "URLRewrite", "urlRewrite": { "hostname": "c.test", "path": replace } },
                    { "type": "RequestMirror", "requestMirror": { "backendRef": backend } },
                ],
                "backendRefs": [backend],
                "timeouts": { "request": "1s", "backendRequest": "500ms" },
            },
            { "filters": [{ "type": "RequestRedirect", "requestRedirect": { "port": 81 } }] },
        ],
    })
}

/// What a value may be replaced by.
fn replacement(number: usize) -> Value {
    let all = [
        json!(null),
        json!(""),
        json!("/"),
        json!("*"),
        json!("{a}/../*"),
        json!("a.test"),
        json!(0),
        json!(-1),
        json!(4_294_967_296_u64),
        json!([]),
        json!({}),
        json!([{}, {}]),
        json!({ "unknown": true }),
        json!("é\n"),
    ];
    all[number % all.len()].clone()
}

/// Replaces the value at a place, counted from the outside in.
fn replace(value: &mut Value, place: &mut usize, by: &Value) -> bool {
    if *place == 0 {
        *value = by.clone();
        return true;
    }
    *place -= 1;
    match value {
        Value::Array(elements) => elements.iter_mut().any(|it| replace(it, place, by)),
        Value::Object(fields) => fields.values_mut().any(|it| replace(it, place, by)),
        _ => false,
    }
}

/// The configuration with these objects.
fn parse(objects: &Objects) -> crate::config::Config {
    let mut overlaid = |model: &model::Model, refused: &RefusedEntries| {
        translate(objects, model, refused, "2026-01-01T00:00:00Z").overlay
    };
    Sources::of_test_with(SETTINGS, &mut overlaid).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever an object says: the others are served, nothing is open that the settings close, and the
    /// configuration is valid.
    #[test]
    fn no_object_keeps_others_from_being_served(
        changes in proptest::collection::vec((0_usize..80, 0_usize..14), 1..4),
    ) {
        let mut spec = good();
        for (place, by) in changes {
            replace(&mut spec, &mut place.clone(), &replacement(by));
        }
        let config = parse(&objects(spec));
        let routes = config.routes.routes();
        prop_assert!(routes.iter().any(|route| route.name.starts_with("kubernetes/n/good/")));
        prop_assert!(routes.iter().all(|route| route.auth == Auth::Required));
    }
}

#[test]
fn every_supported_field_is_translated() {
    let config = parse(&objects(good()));
    let names: Vec<&str> = config.routes.routes().iter().map(|it| &*it.name).collect();
    let expected = [
        "good/0/0/http",
        "good/1/0/http",
        "other/0/0/http",
        "other/1/0/http",
    ];
    assert_eq!(names, expected.map(|name| format!("kubernetes/n/{name}")));
}

/// They would reach a route that is open to more.
#[test]
fn requests_of_a_refused_route_get_an_error() {
    for (name, value) in [
        ("quartet.dev/auth", "everyone"),
        ("quartet.dev/limit", "unknown"),
        ("quartet.dev/unknown", ""),
    ] {
        let config = parse(&objects_with(good(), &json!({ name: value })));
        let routes = config.routes.routes().iter();
        let routes = routes.filter(|it| it.name.starts_with("kubernetes/n/other/"));
        let names: Vec<&str> = routes.map(|it| &*it.name).collect();
        let expected = ["0/0/blocked/http", "1/0/blocked/http"];
        assert_eq!(
            names,
            expected.map(|name| format!("kubernetes/n/other/{name}"))
        );
    }
}

/// What the configuration refuses is in the status of its object.
#[test]
fn the_checks_of_the_configuration_hold_for_objects() {
    let mut spec = good();
    spec["rules"][0]["filters"][0]["requestHeaderModifier"]["set"][0]["name"] =
        json!("x-forwarded-for");
    let objects = objects(spec);
    let mut last = Translation::default();
    let mut overlaid = |model: &model::Model, refused: &RefusedEntries| {
        last = translate(&objects, model, refused, "2026-01-01T00:00:00Z");
        std::mem::take(&mut last.overlay)
    };
    Sources::of_test_with(SETTINGS, &mut overlaid).unwrap();
    let key = |name: &str| (Kind::HttpRoute, ObjectName::new("n", name));
    let condition = &last.statuses[&key("other")]["parents"][0]["conditions"][0];
    assert_eq!(
        (&condition["status"], &condition["reason"]),
        (&json!("False"), &json!("UnsupportedValue"))
    );
    let message = condition["message"].as_str().unwrap();
    assert!(message.contains("x-forwarded-for"), "{message}");
    let condition = &last.statuses[&key("good")]["parents"][0]["conditions"][0];
    assert_eq!(condition["status"], "True");
}
