//! Progress bars on a terminal, plain lines elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// One bar at a time, each on its own line.
pub struct Progress {
    bar: Option<ProgressBar>,
    is_terminal: bool,
}

impl Progress {
    pub fn new() -> Progress {
        Progress { bar: None, is_terminal: std::io::stderr().is_terminal() }
    }

    /// Moves the bar called `name`, starting it if the one before had another name.
    pub fn set(&mut self, name: &str, done: usize, all: usize, message: impl FnOnce() -> String) {
        if !self.is_terminal {
            return;
        }
        if self.bar.as_ref().is_none_or(|bar| bar.prefix() != name) {
            self.clear();
            let bar = ProgressBar::new(all as u64).with_prefix(name.to_owned());
            let style = ProgressStyle::with_template("{prefix:<11} {bar:28.cyan/dim} {pos:>5}/{len}  {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─"));
            self.bar = Some(bar);
        }
        if let Some(bar) = &self.bar {
            bar.set_message(message());
            bar.set_position(done as u64);
        }
    }

    /// Removes the bar.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Prints a line in place of the bar.
    pub fn line(&mut self, text: &str) {
        self.clear();
        println!("{text}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// `12 s`, `1:05`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    if seconds < 60 { format!("{seconds} s") } else { format!("{}:{:02}", seconds / 60, seconds % 60) }
}
