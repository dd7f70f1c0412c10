use std::fs;

use crate::sandbox::Sandbox;

#[test]
fn gen_writes_everything_and_check_names_stale_files() {
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
fn a_client_is_generated_from_its_package_and_extra_files_are_stale() {
    let sandbox = Sandbox::new();
    let package = sandbox.root().join("sdk/typescript");
    let write = |path: &str, content: &str| {
        let path = package.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    write("package-lock.json", "lock");
    write("node_modules/.quartet-installed", "lock");
    write("scripts/generate.mjs", CLIENT_GENERATOR);
    write("src/generated/core/old.ts", "old");
    let (status, errors) = sandbox.start(&["gen", "--check"]).end();
    assert_eq!(status.code(), Some(1), "{errors}");

    let (status, errors) = sandbox.start(&["gen"]).end();
    assert!(status.success(), "{errors}");
    let made = fs::read_to_string(package.join("src/generated/core/made.ts")).unwrap();
    assert_eq!(made, "quartet-core openapi\n");
    assert!(!package.join("src/generated/core/old.ts").exists());
    let (status, errors) = sandbox.start(&["gen", "--check"]).end();
    assert!(status.success(), "{errors}");

    write("src/generated/core/extra.ts", "extra");
    write("src/generated/core/made.ts", "changed");
    let (status, errors) = sandbox.start(&["gen", "--check"]).end();
    assert_eq!(status.code(), Some(1));
    for stale in ["core/extra.ts", "core/made.ts"] {
        let line = format!("stale: sdk/typescript/src/generated/{stale}\n");
        assert!(errors.contains(&line), "{errors}");
    }
    let changed = fs::read_to_string(package.join("src/generated/core/made.ts")).unwrap();
    assert_eq!(changed, "changed");
}

/// Copies a document that an earlier step has written.
const CLIENT_GENERATOR: &str = r#"
import { copyFileSync, mkdirSync } from "node:fs";
mkdirSync(process.argv[2] + "/core", { recursive: true });
copyFileSync("../../services/core/openapi.json", process.argv[2] + "/core/made.ts");
"#;

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
