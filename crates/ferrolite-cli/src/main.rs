//! The `ferrolite` command line tool: converts arguments, calls the library, prints.

#![forbid(unsafe_code)]

mod args;
mod commands;
mod format;
mod interrupt;
mod progress;
mod table;

use args::{Cli, Command};
use clap::Parser;
use ferrolite::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::Quickstart(args) => commands::quickstart::run(args),
        Command::Info(args) => commands::info::run(args),
        Command::Run(args) => commands::run::run(args),
        Command::Bench(args) => commands::bench::run(args),
        Command::Quantize(args) => commands::quantize::run(args),
        Command::Train(args) => commands::train::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // What Ctrl-C gives a program.
        Err(Error::Interrupted) => {
            eprintln!("interrupted");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("error: {error}");
            if let Some(help) = error.help() {
                eprintln!("  help: {help}");
            }
            ExitCode::FAILURE
        }
    }
}
