use std::fs;
use std::process::Command;

use crate::sandbox::Sandbox;

const MANIFEST: &str = "[package]\nname = \"quartet-core\"\nversion = \"0.2.0\"\n";
const RELEASED: &str = "# Notes\n\n## [Unreleased]\n\n## [0.2.0] - 2026-12-24\n\n- Pictures.\n";

/// A service at 0.2.0 in a git repository without a release.
pub(crate) fn tree(notes: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    let service = sandbox.root().join("services/core");
    fs::create_dir_all(&service).unwrap();
    fs::write(service.join("Cargo.toml"), MANIFEST).unwrap();
    fs::write(service.join("CHANGELOG.md"), notes).unwrap();
    git(&sandbox, &["init", "--quiet"]);
    git(&sandbox, &["add", "services"]);
    let ada = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"];
    git(
        &sandbox,
        &[&ada[..], &["commit", "--quiet", "-m", "Begin"]].concat(),
    );
    sandbox
}

fn git(sandbox: &Sandbox, words: &[&str]) {
    let mut command = Command::new("git");
    let status = command.args(words).current_dir(sandbox.root()).status();
    assert!(status.unwrap().success(), "git {words:?}");
}

fn read(sandbox: &Sandbox, path: &str) -> String {
    fs::read_to_string(sandbox.root().join(path)).unwrap()
}

#[test]
fn a_release_writes_everything_with_the_version() {
    let sandbox = tree("# Notes\n\n## [Unreleased]\n\n- Sounds.\n");
    let exceptions = sandbox.root().join("services/core/contract.txt");
    fs::write(&exceptions, "a::test: the limit is 2 now\n").unwrap();
    let mut run = sandbox.start(&["release", "core", "0.3.0"]);
    run.wait_for("git push origin core-v0.3.0");
    let (status, errors) = run.end();
    assert!(status.success(), "{errors}");
    assert!(read(&sandbox, "services/core/Cargo.toml").contains("version = \"0.3.0\"\n"));
    let notes = read(&sandbox, "services/core/CHANGELOG.md");
    assert!(
        notes.starts_with("# Notes\n\n## [Unreleased]\n\n## [0.3.0] - 20"),
        "{notes}"
    );
    assert!(notes.ends_with("\n\n- Sounds.\n"), "{notes}");
    assert!(!exceptions.exists(), "the next release has other tests");
    let document = read(&sandbox, "services/core/openapi.json");
    assert_eq!(document, "quartet-core openapi\n");
}

#[test]
fn a_tree_at_the_version_prints_its_notes() {
    let sandbox = tree(RELEASED);
    let mut run = sandbox.start(&["release", "core", "0.2.0", "--check"]);
    run.wait_for("- Pictures.");
    assert!(run.end().0.success());
    let (status, errors) = sandbox
        .start(&["release", "core", "0.3.0", "--check"])
        .end();
    assert_eq!(status.code(), Some(1));
    assert!(errors.contains("says 0.2.0, not 0.3.0"), "{errors}");
}

#[test]
fn an_impossible_release_is_rejected_and_nothing_is_written() {
    let sandbox = tree(RELEASED);
    for (words, code, message) in [
        (&["core", "0.1.9"][..], 1, "0.1.9 is not later"),
        (&["core", "0.3.0"], 1, "[Unreleased] is empty"),
        (&["core", "0.3"], 2, "`0.3` is not a version"),
        (&["corr", "0.3.0"], 2, "'corr'"),
        (&["core"], 2, "<VERSION>"),
    ] {
        let (status, errors) = sandbox.start(&[&["release"], words].concat()).end();
        assert_eq!(status.code(), Some(code));
        assert!(errors.contains(message), "{words:?}: {errors}");
    }
    assert_eq!(read(&sandbox, "services/core/Cargo.toml"), MANIFEST);
    assert_eq!(read(&sandbox, "services/core/CHANGELOG.md"), RELEASED);
}
