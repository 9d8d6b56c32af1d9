//! Ctrl-C and SIGTERM: the first asks for a clean end, the second ends the program at once.

use super::output::note;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

/// The signal that came first; 0 if none did.
static SIGNAL: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// Begins to listen. Signals that cannot be listened to end the program, as they did before.
pub fn watch() {
    let first = SIGNAL.get_or_init(Arc::default);
    let again = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag down and raises it, the second does what it does by default.
        let listen = || {
            flag::register_conditional_default(signal, again.clone())?;
            flag::register(signal, again.clone())?;
            flag::register_usize(signal, first.clone(), signal as usize)
        };
        if let Err(error) = listen() {
            note(format_args!("signal {signal} will end the program at once: {error}"));
        }
    }
}

fn signal() -> usize {
    SIGNAL.get().map_or(0, |signal| signal.load(SeqCst))
}

/// Whether somebody wants the program to end.
pub fn requested() -> bool {
    signal() != 0
}

/// The exit code of a program that was asked to end, as shells count: 128 and the number of the signal.
pub fn exit_code() -> Option<ExitCode> {
    match signal() {
        0 => None,
        signal => Some(ExitCode::from(128 + signal as u8)),
    }
}
