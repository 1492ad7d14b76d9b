//! The `ferrolite` command line tool.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    ferrolite_cli::run(std::env::args_os()).into()
}
