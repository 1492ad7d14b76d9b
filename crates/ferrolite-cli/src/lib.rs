//! The `ferrolite` command line tool: converts arguments, calls the library, prints.
//!
//! A library, so that the Python wheel carries the tool too.

#![deny(missing_docs)]
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
use std::ffi::OsString;

/// Runs the tool on a command line, whose first word is the program's name, and returns the process's exit status.
pub fn run(words: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and versions are such errors too; a closed stream leaves nothing to tell.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    let done = match &cli.command {
        Command::Quickstart(args) => commands::quickstart::run(args),
        Command::Info(args) => commands::info::run(args),
        Command::Run(args) => commands::run::run(args),
        Command::Bench(args) => commands::bench::run(args),
        Command::Quantize(args) => commands::quantize::run(args),
        Command::Compare(args) => commands::compare::run(args),
        Command::Lint(args) => commands::lint::run(args),
        Command::Train(args) => commands::train::run(args),
    };
    match done {
        Ok(()) => 0,
        // What Ctrl-C gives a program.
        Err(Error::Interrupted) => {
            eprintln!("interrupted");
            130
        }
        Err(error) => {
            eprintln!("error: {error}");
            if let Some(help) = error.help() {
                eprintln!("  help: {help}");
            }
            1
        }
    }
}
