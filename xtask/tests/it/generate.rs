use std::fs;

use crate::sandbox::Sandbox;

#[test]
fn it_writes_everything_and_check_names_what_is_stale() {
    let sandbox = Sandbox::new();
    let (status, errors) = sandbox.start(&["gen"]).end();
    assert!(status.success(), "{errors}");
    let read = |path: &str| fs::read_to_string(sandbox.root().join(path)).unwrap();
    assert_eq!(read("services/core/openapi.json"), "quartet-core openapi\n");
    assert_eq!(
        read("services/links/schema.graphql"),
        "quartet-links graphql-schema\n"
    );
    assert!(read("docs/config.md").contains("## quartet-gateway\n\nquartet-gateway config\n"));

    let (status, errors) = sandbox.start(&["gen", "--check"]).end();
    assert!(status.success(), "{errors}");

    fs::write(sandbox.root().join("services/media/openapi.json"), "old").unwrap();
    fs::remove_file(sandbox.root().join("docs/config.md")).unwrap();
    let (status, errors) = sandbox.start(&["gen", "--check"]).end();
    assert_eq!(status.code(), Some(1));
    assert!(errors.contains("stale: docs/config.md\n"), "{errors}");
    assert!(
        errors.contains("stale: services/media/openapi.json\n"),
        "{errors}"
    );
    assert!(!errors.contains("core"), "{errors}");
    assert!(errors.contains("cargo xtask gen"), "{errors}");
    assert_eq!(read("services/media/openapi.json"), "old");
}

#[test]
fn a_broken_migration_is_named() {
    let sandbox = Sandbox::new();
    let schemas = sandbox.root().join("db/schemas/media");
    fs::create_dir_all(&schemas).unwrap();
    fs::write(
        schemas.join("0001_first.sql"),
        "CREATE TABLE media.a (id int);",
    )
    .unwrap();
    fs::write(
        schemas.join("0002_second.sql"),
        "CREATE TABLE core.b (id int);",
    )
    .unwrap();
    let (status, errors) = sandbox.start(&["gen"]).end();
    assert_eq!(status.code(), Some(1));
    assert!(errors.contains("0002_second.sql"), "{errors}");
    assert!(
        errors.contains("permission denied for schema core"),
        "{errors}"
    );
}
