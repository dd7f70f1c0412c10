//! The words after `cargo xtask image`.

use anyhow::{Context as _, bail, ensure};

use crate::cargo::PARTS;

/// The command line client; made only when it is named.
pub(crate) const CLIENT: &str = "quartet";
const PROFILES: [&str; 3] = ["dist", "release", "dev"];

#[derive(Debug)]
pub(crate) struct Options<'a> {
    pub(crate) binaries: Vec<&'a str>,
    pub(crate) profile: &'a str,
    pub(crate) tag: &'a str,
    pub(crate) from_source: bool,
    /// What stands after `--`, for `docker build`.
    pub(crate) engine_arguments: Vec<&'a str>,
}

impl<'a> Options<'a> {
    pub(crate) fn parse(words: &[&'a str]) -> anyhow::Result<Self> {
        let end = words.iter().position(|&word| word == "--");
        let (own, rest) = words.split_at(end.unwrap_or(words.len()));
        let mut options = Self {
            binaries: Vec::new(),
            profile: "dist",
            tag: "dev",
            from_source: false,
            engine_arguments: rest.iter().skip(1).copied().collect(),
        };
        let mut own = own.iter();
        while let Some(&word) = own.next() {
            match word {
                "--profile" => options.profile = profile(own.next())?,
                "--tag" => options.tag = own.next().context("--tag wants a name")?,
                "--from-source" => options.from_source = true,
                name if name == CLIENT || PARTS.contains(&name) => options.binaries.push(name),
                other => bail!(
                    "`{other}` is no option and no binary; there are {} and {CLIENT}",
                    PARTS.join(", ")
                ),
            }
        }
        ensure!(
            !(options.from_source && options.binaries.contains(&CLIENT)),
            "`{CLIENT}` is not made by --from-source"
        );
        if options.binaries.is_empty() {
            options.binaries = PARTS.to_vec();
        }
        Ok(options)
    }
}

fn profile<'a>(word: Option<&&'a str>) -> anyhow::Result<&'a str> {
    match word {
        Some(&name) if PROFILES.contains(&name) => Ok(name),
        _ => bail!("--profile wants one of {}", PROFILES.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::Options;

    #[test]
    fn all_binaries_are_meant_when_none_is_named() {
        let options = Options::parse(&[]).unwrap();
        assert_eq!(options.binaries.len(), 5);
        assert_eq!((options.profile, options.tag), ("dist", "dev"));
    }

    #[test]
    fn words_after_two_dashes_go_to_the_engine() {
        let words = ["--tag", "1", "quartet-core", "--", "--network", "host"];
        let options = Options::parse(&words).unwrap();
        assert_eq!(options.binaries, ["quartet-core"]);
        assert_eq!(options.tag, "1");
        assert_eq!(options.engine_arguments, ["--network", "host"]);
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for words in [
            &["quartet-cor"][..],
            &["--profile", "fast"],
            &["--profile"],
            &["--tag"],
            &["--from-source", "quartet"],
        ] {
            assert!(Options::parse(words).is_err(), "{words:?}");
        }
    }
}
