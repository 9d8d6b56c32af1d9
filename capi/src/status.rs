//! Status codes, and the text of the last error of each thread.

use interneuron::Error;
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The call did what it should.
pub const INTERNEURON_OK: i32 = 0;
/// A pointer that is needed is NULL.
pub const INTERNEURON_NULL_POINTER: i32 = 1;
/// A number, a size or an array's content is not what it should be.
pub const INTERNEURON_INVALID_ARGUMENT: i32 = 2;
/// A pointer is not a multiple of its type's alignment.
pub const INTERNEURON_MISALIGNED: i32 = 3;
/// An output overlaps another argument.
pub const INTERNEURON_OVERLAP: i32 = 4;
/// The handle was freed, was never handed out, or names something of another kind.
pub const INTERNEURON_INVALID_HANDLE: i32 = 5;
/// Another thread is in a call with the same handle.
pub const INTERNEURON_BUSY: i32 = 6;
/// Another call has to come first: parameters before a forward pass, a forward pass before a backward pass.
pub const INTERNEURON_WRONG_ORDER: i32 = 7;
/// There is no such instruction set, or this CPU lacks it.
pub const INTERNEURON_UNSUPPORTED: i32 = 8;
/// Memory or threads cannot be had.
pub const INTERNEURON_OUT_OF_RESOURCES: i32 = 9;
/// The loss stopped being finite; the step changed nothing.
pub const INTERNEURON_DIVERGED: i32 = 10;
/// A defect of the library; or, in a child process, a handle that another thread was using when the process was forked.
/// The handle can only be freed afterwards, and outputs may be half-written.
pub const INTERNEURON_INTERNAL: i32 = 11;
/// A file cannot be read or written, or does not hold what it should.
pub const INTERNEURON_FILE: i32 = 12;

/// Why a call fails: its status, and the text for people.
#[derive(Debug)]
pub struct Failure {
    pub status: i32,
    pub text: String,
}

pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub fn new(status: i32, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    /// An argument is not what it should be.
    pub fn argument(name: &str, value: impl std::fmt::Display, expected: &str) -> Self {
        Self::new(INTERNEURON_INVALID_ARGUMENT, format!("{name} is {value}: expected {expected}"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let mut cause = &error;
        while let Error::Layer { source, .. } = cause {
            cause = source;
        }
        let status = match cause {
            Error::UnknownIsa { .. } | Error::UnsupportedIsa { .. } => INTERNEURON_UNSUPPORTED,
            Error::NoForward => INTERNEURON_WRONG_ORDER,
            Error::TooLarge { .. } => INTERNEURON_OUT_OF_RESOURCES,
            Error::Diverged { .. } => INTERNEURON_DIVERGED,
            Error::File { .. } => INTERNEURON_FILE,
            _ => INTERNEURON_INVALID_ARGUMENT,
        };
        Self::new(status, error.to_string())
    }
}

thread_local! {
    static LAST: RefCell<Option<CString>> = const { RefCell::new(None) };
}

/// Runs the body of an entry point. A failure becomes the thread's last error; a panic, which must not unwind into the
/// caller's frames, becomes a failure.
pub fn call(body: impl FnOnce() -> Outcome) -> i32 {
    // What a panic leaves behind is a handle, whose lock is then poisoned and refuses all further calls.
    let failure = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return INTERNEURON_OK,
        Ok(Err(failure)) => failure,
        Err(payload) => {
            let message = payload.downcast_ref::<String>().map(String::as_str);
            let message = message.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Failure::new(INTERNEURON_INTERNAL, format!("a defect of interneuron, please report it: {message}"))
        }
    };
    let text = CString::new(failure.text.replace('\0', "\u{fffd}")).unwrap_or_default();
    // Fails only while the thread ends and has lost its variables already: then nobody can ask for the text either.
    let _ = LAST.try_with(|last| *last.borrow_mut() = Some(text));
    failure.status
}

/// What was wrong with the last call of the calling thread that did not return `INTERNEURON_OK`: one sentence that
/// names the argument, its value and what was expected; empty if none failed so far. The text is UTF-8, ends with NUL,
/// and stays valid until the next failing call of the same thread, or until the thread ends.
#[unsafe(no_mangle)]
pub extern "C" fn interneuron_last_error() -> *const c_char {
    LAST.try_with(|last| last.borrow().as_ref().map(|text| text.as_ptr())).ok().flatten().unwrap_or(c"".as_ptr())
}
