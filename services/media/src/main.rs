//! The binary `quartet-media`.

use std::process::ExitCode;

fn main() -> ExitCode {
    quartet_common::cli::main::<quartet_media::Service>()
}
