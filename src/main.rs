//! The binary: parses, calls, exits.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(feature = "sandbox")]
    if let Some(code) = seqstack::sandbox::hidden::dispatch(std::env::args_os()) {
        return code;
    }
    ExitCode::SUCCESS
}
