//! The example configurations are valid, and the README lists all of them.

use std::path::Path;

use crate::support::{Certificates, command};

#[test]
fn every_example_is_valid_and_listed() {
    let service = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(service.join("README.md")).unwrap();
    let files = Certificates::new();
    let mut count = 0;
    for entry in std::fs::read_dir(service.join("examples")).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let text = files.in_place(&text, &["app.example.org", "shop.example.org"]);
        let copy = files.path(name);
        std::fs::write(&copy, text).unwrap();
        let output = command().args(["check", "--config"]).arg(&copy).output();
        let output = output.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {errors}");
        assert!(readme.contains(&format!("](examples/{name})")), "{name}");
        // The routes are those of the example alone.
        let output = command().args(["routes", "--config"]).arg(&copy).output();
        let routes = String::from_utf8(output.unwrap().stdout).unwrap();
        assert!(!routes.contains("/v1/core"), "{name}: {routes}");
        count += 1;
    }
    assert_eq!(readme.matches("](examples/").count(), count);
}
