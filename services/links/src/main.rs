//! The binary `quartet-links`.

use std::process::ExitCode;

fn main() -> ExitCode {
    quartet_common::cli::main::<quartet_links::Service>()
}
