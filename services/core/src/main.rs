//! The binary `quartet-core`.

use std::process::ExitCode;

fn main() -> ExitCode {
    quartet_common::cli::main::<quartet_core::Service>()
}
