//! What is to be run, and for how long.

use std::str::FromStr;

pub(crate) const HELP: &str = "\
cargo xtask bench [--quick] [NAMES]

  gateway    the gateway beside HAProxy, nginx and Caddy
  redirect   the redirect with its durable click beside a bare handler
  login      password logins beside bare argon2id, and refreshes
  presign    presigned uploads beside pgbench with the same statements
  sizes      size of the binaries, idle memory, time from start to ready

  Without names: all of them, in less than ten minutes; the result is written to
  benches/BASELINE.md. --quick: in less than two minutes, and nothing is written.
";

/// One benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    Gateway,
    Redirect,
    Login,
    Presign,
    Sizes,
}

impl Measure {
    pub(crate) const ALL: [Self; 5] = [
        Self::Gateway,
        Self::Redirect,
        Self::Login,
        Self::Presign,
        Self::Sizes,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Redirect => "redirect",
            Self::Login => "login",
            Self::Presign => "presign",
            Self::Sizes => "sizes",
        }
    }
}

impl FromStr for Measure {
    type Err = anyhow::Error;

    fn from_str(word: &str) -> anyhow::Result<Self> {
        Self::ALL
            .into_iter()
            .find(|measure| measure.name() == word)
            .ok_or_else(|| anyhow::anyhow!("there is no benchmark `{word}`\n{HELP}"))
    }
}

/// How often and how long one thing is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) rounds: usize,
    pub(crate) seconds: u32,
}

/// The words of the command line.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) measures: Vec<Measure>,
    pub(crate) quick: bool,
}

impl Plan {
    pub(crate) fn from_words(words: &[String]) -> anyhow::Result<Self> {
        let quick = words.iter().any(|word| word == "--quick");
        let mut measures = words
            .iter()
            .filter(|word| *word != "--quick")
            .map(|word| word.parse())
            .collect::<anyhow::Result<Vec<Measure>>>()?;
        if measures.is_empty() {
            measures = Measure::ALL.to_vec();
        }
        Ok(Self { measures, quick })
    }

    /// For what is as fast as the processor allows.
    pub(crate) fn pace(&self) -> Pace {
        if self.quick {
            Pace {
                rounds: 2,
                seconds: 1,
            }
        } else {
            Pace {
                rounds: 5,
                seconds: 4,
            }
        }
    }

    /// For what waits for disks or hashes passwords: fewer requests, longer rounds.
    pub(crate) fn slow_pace(&self) -> Pace {
        if self.quick {
            Pace {
                rounds: 1,
                seconds: 3,
            }
        } else {
            Pace {
                rounds: 4,
                seconds: 5,
            }
        }
    }

    /// Starts of each service.
    pub(crate) fn starts(&self) -> usize {
        if self.quick { 3 } else { 10 }
    }
}

#[cfg(test)]
mod tests {
    use super::{Measure, Plan};

    fn plan(words: &[&str]) -> anyhow::Result<Plan> {
        Plan::from_words(
            &words
                .iter()
                .map(|&word| word.to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn no_name_means_all() {
        let plan = plan(&["--quick"]).unwrap();
        assert!(plan.quick);
        assert_eq!(plan.measures, Measure::ALL);
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_known_ones() {
        let message = plan(&["gatway"]).unwrap_err().to_string();
        assert!(
            message.contains("gatway") && message.contains("presign"),
            "{message}"
        );
    }
}
