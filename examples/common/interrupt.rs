//! Ctrl-C and SIGTERM: the first asks for a clean end, another one ends the program at once.

use super::output::note;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::{emulate_default_handler, register};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

/// The signal that came first; 0 if none did.
static SIGNAL: AtomicUsize = AtomicUsize::new(0);
/// When it came, in milliseconds after the program began.
static CAME: AtomicU64 = AtomicU64::new(0);
static BEGAN: OnceLock<Instant> = OnceLock::new();

/// Signals that come so soon after the first are the same wish: `timeout` sends it to the program and to its group.
const SAME_WISH: u64 = 500;

/// Begins to listen. Signals that cannot be listened to end the program, as they did before.
pub fn watch() {
    let began = *BEGAN.get_or_init(Instant::now);
    for signal in [SIGINT, SIGTERM] {
        let heard = move || {
            let now = began.elapsed().as_millis() as u64;
            if SIGNAL.compare_exchange(0, signal as usize, SeqCst, SeqCst).is_ok() {
                CAME.store(now, SeqCst);
            } else if now > CAME.load(SeqCst) + SAME_WISH {
                let _ = emulate_default_handler(signal);
            }
        };
        // SAFETY: the handler reads a clock, uses atomics, and ends the process by what may be called in a handler.
        if let Err(error) = unsafe { register(signal, heard) } {
            note(format_args!("signal {signal} will end the program at once: {error}"));
        }
    }
}

/// Whether somebody wants the program to end.
pub fn requested() -> bool {
    SIGNAL.load(SeqCst) != 0
}

/// The exit code of a program that was asked to end, as shells count: 128 and the number of the signal.
pub fn exit_code() -> Option<ExitCode> {
    match SIGNAL.load(SeqCst) {
        0 => None,
        signal => Some(ExitCode::from(128 + signal as u8)),
    }
}
