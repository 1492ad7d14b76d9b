//! Ctrl-C: the first asks the work to stop, which cleans up after itself; a second one ends the program at once.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Takes over Ctrl-C for work that asks [`go_on`].
pub fn watch() {
    let handler = || {
        if ASKED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    };
    // Where there are no signals, Ctrl-C ends the program as ever.
    let _ = ctrlc::set_handler(handler);
}

/// Whether the work should go on.
pub fn go_on() -> ControlFlow<()> {
    if ASKED.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
