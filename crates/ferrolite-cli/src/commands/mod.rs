//! One module per command.

pub mod bench;
pub mod compare;
pub mod info;
pub mod lint;
pub mod quantize;
pub mod quickstart;
pub mod run;
pub mod train;

use ferrolite::Error;

/// Prints a value as JSON.
fn print_json(value: &impl serde::Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::usage(format!("JSON: {e}")))?;
    print(&text);
    Ok(())
}

/// Prints text; a reader that went away (`| head`) ends the program quietly.
fn print(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// How to call this program again: through cargo, where that started it.
fn me() -> String {
    if std::env::var_os("CARGO").is_some() {
        return "cargo run --release --".to_owned();
    }
    std::env::args().next().unwrap_or_else(|| "ferrolite".to_owned())
}
