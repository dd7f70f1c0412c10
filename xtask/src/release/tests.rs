use std::path::PathBuf;

use chrono::NaiveDate;
use semver::Version;

use super::{Release, manifest, may_break, notes, plain_version};

const MANIFEST: &str = "\
[package]
name = \"quartet-core\"
version = \"0.1.0\"
edition.workspace = true

[dependencies]
version = \"9\"
";

const NOTES: &str = "\
# Change notes

## [Unreleased]

### Added

- Pictures.

## [0.1.0] - 2026-11-01

### Added

- Everything.
";

fn day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 12, 24).unwrap()
}

#[test]
fn the_version_is_that_of_the_package() {
    assert_eq!(manifest::version(MANIFEST).unwrap(), Version::new(0, 1, 0));
    let changed = manifest::with_version(MANIFEST, &Version::new(0, 2, 0)).unwrap();
    assert_eq!(changed, MANIFEST.replace("\"0.1.0\"", "\"0.2.0\""));
    assert!(manifest::version("[package]\nversion.workspace = true\n").is_err());
}

#[test]
fn unreleased_changes_become_the_release_of_a_day() {
    let version = Version::new(0, 2, 0);
    let dated = notes::dated(NOTES, &version, day()).unwrap();
    assert!(
        dated.contains("## [Unreleased]\n\n## [0.2.0] - 2026-12-24\n\n### Added\n\n- Pictures.\n")
    );
    assert_eq!(
        notes::of(&dated, &version).unwrap(),
        "### Added\n\n- Pictures.\n"
    );
    assert_eq!(
        notes::of(&dated, &Version::new(0, 1, 0)).unwrap(),
        "### Added\n\n- Everything.\n"
    );
}

#[test]
fn a_release_without_notes_is_refused() {
    let released = notes::dated(NOTES, &Version::new(0, 2, 0), day()).unwrap();
    let again = notes::dated(&released, &Version::new(0, 3, 0), day()).unwrap_err();
    assert!(again.to_string().contains("[Unreleased] is empty"));
    let twice = notes::dated(NOTES, &Version::new(0, 1, 0), day()).unwrap_err();
    assert!(twice.to_string().contains("0.1.0 has a section already"));
}

#[test]
fn only_plain_versions_are_released() {
    assert_eq!(plain_version("1.2.3").unwrap(), Version::new(1, 2, 3));
    for text in ["1.2", "v1.2.3", "1.2.3-rc.1", "1.2.3+a"] {
        assert!(plain_version(text).is_err(), "{text}");
    }
}

#[test]
fn a_release_is_later_than_the_last_one() {
    let release = |version: &str, last: Option<&str>| Release {
        root: PathBuf::new(),
        service: "core".to_owned(),
        version: version.parse().unwrap(),
        current: Version::new(0, 1, 0),
        last: last.map(str::to_owned),
    };
    assert!(release("0.1.0", None).require_later().is_ok());
    assert!(
        release("0.1.0", Some("core-v0.1.0"))
            .require_later()
            .is_err()
    );
    assert!(
        release("0.1.1", Some("core-v0.1.0"))
            .require_later()
            .is_ok()
    );
    assert!(release("0.0.9", None).require_later().is_err());
}

#[test]
fn breaking_changes_need_a_major_or_below_1_0_a_minor_version() {
    let may = |from: &str, to: &str| may_break(&from.parse().unwrap(), &to.parse().unwrap());
    assert!(!may("0.1.0", "0.1.1") && may("0.1.1", "0.2.0") && may("0.9.0", "1.0.0"));
    assert!(!may("1.2.0", "1.3.0") && may("1.2.0", "2.0.0"));
}
