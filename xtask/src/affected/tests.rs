use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::since_commit;
use crate::git;

/// A workspace in a separate git repository: `core` and `links` share `common`, whose tests use
/// `helper`; the tests of `links` use `tool`; `gateway` depends on nothing.
struct Repository(PathBuf);

impl Repository {
    fn new(name: &str) -> Self {
        let directory = format!("quartet-affected-{}-{name}", std::process::id());
        let this = Self(std::env::temp_dir().join(directory));
        this.write(
            "Cargo.toml",
            "[workspace]\nresolver = \"3\"\nmembers = [\"libs/*\", \"services/*\"]\n",
        );
        this.member("libs/helper", "");
        this.member("libs/tool", "");
        this.member(
            "libs/common",
            "[dev-dependencies]\nhelper = { path = \"../helper\" }\n",
        );
        let common = "[dependencies]\ncommon = { path = \"../../libs/common\" }\n";
        this.member("services/core", common);
        let tool = "[dev-dependencies]\ntool = { path = \"../../libs/tool\" }\n";
        this.member("services/links", &format!("{common}{tool}"));
        this.member("services/gateway", "");
        this.write("db/schemas/core/0001_users.sql", "SELECT 1;");
        this.write("db/schemas/links/0001_links.sql", "SELECT 1;");
        this.write("db/roles.sql", "SELECT 1;");
        this.write("docs/config.md", "Settings");
        let lock = Command::new("cargo")
            .args(["generate-lockfile", "--offline"])
            .current_dir(&this.0)
            .output()
            .unwrap();
        assert!(lock.status.success(), "{lock:?}");
        this.git(&["init", "--quiet", "--initial-branch=main"]);
        this.commit();
        this
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn member(&self, path: &str, dependencies: &str) {
        let name = path.rsplit('/').next().unwrap();
        let package =
            format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n");
        self.write(
            &format!("{path}/Cargo.toml"),
            &format!("{package}{dependencies}"),
        );
        self.write(&format!("{path}/src/lib.rs"), "");
    }

    fn git(&self, words: &[&str]) -> String {
        let mut identified = vec!["-c", "user.name=Ada", "-c", "user.email=ada@example.org"];
        identified.extend(words);
        git::output(&self.0, &identified).unwrap()
    }

    fn commit(&self) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", "A step"]);
    }

    /// The services that a committed change to one file touches.
    fn after_changing(&self, path: &str) -> Vec<String> {
        self.write(path, "changed");
        self.commit();
        self.affected("HEAD~1")
    }

    fn affected(&self, since: &str) -> Vec<String> {
        since_commit(&self.0, since).unwrap().into_keys().collect()
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_service_is_touched_by_its_own_files_and_schema() {
    let repository = Repository::new("own");
    assert_eq!(
        repository.after_changing("services/core/src/lib.rs"),
        ["core"]
    );
    assert_eq!(
        repository.after_changing("services/core/CHANGELOG.md"),
        ["core"]
    );
    assert_eq!(
        repository.after_changing("services/gateway/src/lib.rs"),
        ["gateway"]
    );
    assert_eq!(
        repository.after_changing("db/schemas/links/0002_more.sql"),
        ["links"]
    );
    assert_eq!(repository.after_changing("db/roles.sql"), ["core", "links"]);
}

#[test]
fn a_service_is_touched_by_the_crates_it_is_built_from() {
    let repository = Repository::new("parts");
    assert_eq!(
        repository.after_changing("libs/common/src/lib.rs"),
        ["core", "links"]
    );
    // Its own tests count, those of its dependencies do not.
    assert_eq!(repository.after_changing("libs/tool/src/lib.rs"), ["links"]);
    assert!(
        repository
            .after_changing("libs/helper/src/lib.rs")
            .is_empty()
    );
}

#[test]
fn every_service_is_touched_by_what_affects_all_builds() {
    let repository = Repository::new("all");
    let all = ["core", "gateway", "links"];
    for path in [
        "deploy/Dockerfile",
        "rust-toolchain.toml",
        ".github/workflows/service.yaml",
    ] {
        repository.write(path, "first");
        repository.commit();
        assert_eq!(repository.affected("HEAD~1"), all, "{path}");
        fs::remove_file(repository.0.join(path)).unwrap();
        assert_eq!(repository.affected("HEAD"), all, "{path} removed");
        repository.commit();
    }
    assert_eq!(
        repository.affected("0000000000000000000000000000000000000000"),
        all
    );
}

#[test]
fn no_service_is_touched_by_documentation_or_similar_names() {
    let repository = Repository::new("none");
    assert!(repository.after_changing("docs/config.md").is_empty());
    assert!(repository.after_changing("deploys.md").is_empty());
    assert!(repository.after_changing("services/core.md").is_empty());
    assert!(repository.affected("HEAD").is_empty());
}

#[test]
fn uncommitted_changes_count() {
    let repository = Repository::new("dirty");
    repository.write("services/core/src/new.rs", "");
    assert_eq!(repository.affected("HEAD"), ["core"]);
    repository.write("services/links/src/lib.rs", "// changed");
    assert_eq!(repository.affected("HEAD"), ["core", "links"]);
}

#[test]
fn changes_on_the_other_branch_do_not_count() {
    let repository = Repository::new("branch");
    repository.git(&["checkout", "--quiet", "-b", "work"]);
    repository.write("services/links/src/lib.rs", "// changed");
    repository.commit();
    repository.git(&["checkout", "--quiet", "main"]);
    repository.write("services/core/src/lib.rs", "// changed");
    repository.commit();
    repository.git(&["checkout", "--quiet", "work"]);
    assert_eq!(repository.affected("main"), ["links"]);
}

#[test]
fn an_unknown_commit_is_reported() {
    let repository = Repository::new("missing");
    let error = since_commit(&repository.0, "core-v9.9.9").unwrap_err();
    assert!(format!("{error:#}").contains("`core-v9.9.9` is not a commit here"));
}
