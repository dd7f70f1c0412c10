use crate::config::load::Sources;

/// The errors of a configuration with these tables, and these lines of a route.
fn errors(tables: &str, lines: &str) -> String {
    let text = format!(
        "{tables}\n[upstreams.u]\naddresses = [\"u:1\"]\n\
         [routes.r]\npaths = [\"/r\"]\nupstream = \"u\"\n{lines}\n"
    );
    let checked = Sources::of_test(&text);
    let errors = checked
        .err()
        .map_or(String::new(), |error| error.to_string());
    // "setting `key` (place): rule" as "key rule".
    let lines = errors.lines().map(|line| {
        let parts = line.split_once("` (").zip(line.split_once("): "));
        parts.map_or(line.to_owned(), |((key, _), (_, rule))| {
            format!("{} {rule}", key.trim_start_matches("setting `"))
        })
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn cors_tables_are_checked() {
    let cors = |lines: &str| errors(&format!("[cors.a]\n{lines}"), "cors = \"a\"");
    for lines in [
        "origins = [\"https://a.example\"]\ncredentials = true",
        "origins = [\"*\"]",
        "origins = [\"null\", \"https://*.example.org\"]",
        "origins = [\"*\"]\nmethods = [\"*\"]\nrequest_headers = [\"*\"]\nexposed_headers = [\"*\"]",
        "origins = [\"http://a\"]\nmethods = [\"GET\"]\nrequest_headers = []\nexposed_headers = []",
    ] {
        assert_eq!(cors(lines), "", "{lines}");
    }
    let origins = "origins = [\"https://a.example\"]\n";
    for (lines, expected) in [
        ("origins = []", "cors.a.origins must have at least one"),
        (
            "origins = [\"https://a.example/\"]",
            "cors.a.origins[0] must be an origin",
        ),
        (
            "origins = [\"*\"]\ncredentials = true",
            "cors.a.origins must not have `*`",
        ),
        (
            "origins = [\"*\", \"null\"]",
            "cors.a.origins must have nothing beside `*`",
        ),
        (
            &format!("{origins}credentials = true\nmethods = [\"*\"]"),
            "cors.a.methods must not",
        ),
        (
            &format!("{origins}credentials = true\nrequest_headers = [\"*\"]"),
            "cors.a.request_headers must not",
        ),
        (
            &format!("{origins}credentials = true\nexposed_headers = [\"*\"]"),
            "cors.a.exposed_headers must not",
        ),
        (
            &format!("{origins}methods = [\"get\"]"),
            "cors.a.methods[0] must be a method",
        ),
        (
            &format!("{origins}request_headers = [\"a b\"]"),
            "is not a valid header name",
        ),
        (
            &format!("{origins}max_age_seconds = 86401"),
            "must be between 0 and 86400",
        ),
        (&format!("{origins}max_age = 1"), "max_age"),
    ] {
        let errors = cors(lines);
        assert!(errors.contains(expected), "{lines}: {errors}");
    }
    assert!(errors("", "cors = \"b\"").contains("routes.r.cors there is no cors `b`"));
    let errors = errors("[defaults]\ncors = \"b\"", "");
    assert!(errors.contains("there is no cors `b`"), "{errors}");
}

#[test]
fn faults_need_their_switch() {
    let on = "[server]\nfault_injection = true";
    for fault in [
        "{ percent = 1, status = 503 }",
        "{ percent = 100, delay_ms = 60000 }",
        "{ percent = 50, abort = true }",
    ] {
        let line = format!("fault = {fault}");
        assert_eq!(errors(on, &line), "", "{fault}");
        assert!(
            errors("", &line).contains("server.fault_injection = true"),
            "{fault}"
        );
    }
    for (fault, expected) in [
        ("{ percent = 0, abort = true }", "between 1 and 100"),
        ("{ percent = 101, abort = true }", "between 1 and 100"),
        ("{ percent = 1 }", "must have one of"),
        (
            "{ percent = 1, abort = true, status = 500 }",
            "must have one of",
        ),
        ("{ percent = 1, status = 200 }", "between 400 and 599"),
        ("{ percent = 1, delay_ms = 60001 }", "between 1 and 60000"),
    ] {
        let errors = errors(on, &format!("fault = {fault}"));
        assert!(errors.contains(expected), "{fault}: {errors}");
    }
}

#[test]
fn networks_and_headers_are_checked() {
    for (tables, lines, expected) in [
        ("", "allowed_networks = [\"10.0.0.0/8\"]", ""),
        (
            "",
            "allowed_networks = [\"10.0.0.0\"]",
            "must be an IP network",
        ),
        (
            "[defaults]\ndenied_networks = [\"::/129\"]",
            "",
            "must be an IP network",
        ),
        (
            "[maintenance]\nallowed_networks = [\"x\"]",
            "",
            "must be an IP network",
        ),
        (
            "[maintenance]\nretry_after_seconds = 0",
            "",
            "between 1 and 86400",
        ),
        ("", "security_headers = false", ""),
        ("", "security_headers = { frame_options = \"\" }", ""),
        (
            "",
            "security_headers = { frame = \"\" }",
            "must be true, false, or a table",
        ),
        (
            "[security_headers]\nreferrer_policy = \"a\\nb\"",
            "",
            "security_headers.referrer_policy is not a valid header value",
        ),
        (
            "",
            "security_headers = { referrer_policy = \"a\\nb\" }",
            "routes.r.security_headers.referrer_policy is not",
        ),
    ] {
        let errors = errors(tables, lines);
        assert!(
            errors.contains(expected) && errors.is_empty() == expected.is_empty(),
            "{tables} {lines}: {errors}"
        );
    }
}
