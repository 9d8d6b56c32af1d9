//! Child processes that use what their parent made. A child has one thread, and must not print or panic: it calls the
//! library and says by its exit code how that went.

use super::*;
use crate::context::interneuron_context_free;
use crate::layer::*;
use crate::network::*;
use crate::status::{INTERNEURON_BUSY, INTERNEURON_INTERNAL, INTERNEURON_INVALID_HANDLE, call};
use crate::table;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Runs `child` in a child process, which ends with its exit code; returns a number that says how it ended.
fn in_child(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child only does what `child` does, and ends without running anything else of its parent's.
    unsafe {
        match libc::fork() {
            0 => {
                libc::alarm(60);
                libc::_exit(child());
            }
            pid => {
                assert!(pid > 0);
                let mut status = 0;
                assert_eq!(libc::waitpid(pid, &mut status, 0), pid);
                if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 1000 + libc::WTERMSIG(status) }
            }
        }
    }
}

/// Runs a test once more, in a process in which no other test's threads begin or end: the standard library of a Rust
/// program holds a lock meanwhile, which a fork would copy as it is. (In a program in another language it does not.)
/// Whether this is that process, in which the test is to go on.
fn is_alone(test: &str) -> bool {
    const ALONE: &str = "INTERNEURON_FORK_TEST";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    let output = again.args([&format!("tests::fork::{test}"), "--exact", "--test-threads=1"]).env(ALONE, "1").output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    false
}

/// A network that is large enough to need its pool, and examples.
struct Work {
    network: u64,
    x: Vec<f32>,
    labels: Vec<u32>,
}

const INPUTS: usize = 100;
const BATCH: usize = 32;

impl Work {
    fn new(network: &OwnNetwork) -> Self {
        Self { network: network.0, x: numbers(BATCH * INPUTS), labels: (0..BATCH as u32).map(|i| i % 10).collect() }
    }

    /// The bits of the loss of a step, or why there is none.
    fn step(&self) -> Result<u64, i32> {
        let (update, mut loss) = (update_config(0.1, 1), 0.0);
        let (x, labels) = (self.x.as_ptr(), self.labels.as_ptr());
        // SAFETY: as many examples and labels.
        match unsafe {
            interneuron_network_train_step(self.network, BATCH as i64, x.cast(), labels, &update, &mut loss)
        } {
            INTERNEURON_OK => Ok(loss.to_bits()),
            status => Err(status),
        }
    }

    /// 0 if the next steps have these losses, or else a number that says what went wrong.
    fn repeat(&self, losses: &[u64]) -> i32 {
        for &loss in losses {
            match self.step() {
                Ok(bits) if bits == loss => {}
                Ok(_) => return 100,
                Err(status) => return status,
            }
        }
        0
    }
}

const DIMS: [i64; 3] = [INPUTS as i64, 128, 10];
const NIS: [i64; 2] = [10, 1];

/// The losses of eight steps.
fn losses() -> Vec<u64> {
    let context = OwnContext::new(0, "");
    let network = context.network(&DIMS, Some(&NIS), 3);
    let work = Work::new(&network);
    (0..8).map(|_| work.step().unwrap()).collect()
}

#[test]
fn a_child_goes_on_where_its_parent_was() {
    if !is_alone("a_child_goes_on_where_its_parent_was") {
        return;
    }
    let losses = losses();
    for used in [true, false] {
        let context = OwnContext::new(2, "");
        let network = context.network(&DIMS, Some(&NIS), 3);
        let work = Work::new(&network);
        let begin = if used { 2 } else { 0 };
        assert_eq!(work.repeat(&losses[..begin]), 0);
        let child = || {
            let own = match work.repeat(&losses[begin..6]) {
                0 => in_child(|| match work.repeat(&losses[6..]) {
                    // A grandchild frees things in the other order.
                    0 => interneuron_context_free(context.0) + interneuron_network_free(network.0),
                    status => status,
                }),
                status => return status,
            };
            own + interneuron_network_free(network.0) + interneuron_context_free(context.0)
        };
        assert_eq!(in_child(child), 0, "used before: {used}");
        // A child that frees what it never used.
        assert_eq!(in_child(|| interneuron_network_free(network.0) + interneuron_context_free(context.0)), 0);
        // One that only forks.
        assert_eq!(in_child(|| in_child(|| work.repeat(&losses[begin..]))), 0);
        // The parent does not notice.
        assert_eq!(work.repeat(&losses[begin..]), 0);
        assert_eq!(interneuron_network_free(network.0), INTERNEURON_OK);
        assert_eq!(interneuron_context_free(context.0), INTERNEURON_OK);
    }
}

#[test]
fn a_child_makes_things_of_its_own() {
    if !is_alone("a_child_makes_things_of_its_own") {
        return;
    }
    let losses = losses();
    let context = OwnContext::new(2, "");
    let child = || {
        let own = OwnContext::new(3, "");
        for context in [&own, &context] {
            let network = context.network(&DIMS, Some(&NIS), 3);
            match Work::new(&network).repeat(&losses) {
                0 => {}
                status => return status,
            }
        }
        interneuron_context_free(own.0) + interneuron_context_free(context.0)
    };
    assert_eq!(in_child(child), 0);
}

/// What another thread was changing at the moment of the fork cannot be used, which a call says at once; it can be
/// freed.
#[test]
fn what_another_thread_used_is_lost_to_the_child() {
    if !is_alone("what_another_thread_used_is_lost_to_the_child") {
        return;
    }
    let context = OwnContext::new(2, "");
    let layer = context.layer(layer_config(2, 2, 1));
    let (started, end) = (Barrier::new(2), Barrier::new(2));
    // SAFETY: a layer with parameters of its own.
    let use_it = || unsafe { interneuron_layer_init(layer.0, 1, 0) };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            ok(call(|| {
                table::with(layer.0, |_: &mut AnyLayer| {
                    started.wait();
                    end.wait();
                    Ok(())
                })
            }));
        });
        started.wait();
        let child = || {
            let lost = use_it() == INTERNEURON_INTERNAL && last_error().contains("when this process was forked");
            let freed = interneuron_layer_free(layer.0) == INTERNEURON_OK;
            let gone = use_it() == INTERNEURON_INVALID_HANDLE;
            let rest = interneuron_context_free(context.0) == INTERNEURON_OK;
            i32::from(!lost) + 2 * i32::from(!freed) + 4 * i32::from(!gone) + 8 * i32::from(!rest)
        };
        assert_eq!(in_child(child), 0);
        assert_eq!(use_it(), INTERNEURON_BUSY);
        end.wait();
    });
    assert_eq!(use_it(), INTERNEURON_OK);
}

/// Forks fall into all that other threads do with the library, and into the start of pools above all.
#[test]
fn forks_at_any_moment() {
    if !is_alone("forks_at_any_moment") {
        return;
    }
    let losses = losses();
    let done = std::sync::atomic::AtomicBool::new(false);
    let context = OwnContext::new(2, "");
    let network = context.network(&DIMS, Some(&NIS), 3);
    let begun = Barrier::new(3);
    std::thread::scope(|scope| {
        for threads in [0, 2] {
            let (done, losses, begun) = (&done, &losses, &begun);
            scope.spawn(move || {
                begun.wait();
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let context = OwnContext::new(threads, "");
                    let network = context.network(&DIMS, Some(&NIS), 3);
                    assert_eq!(Work::new(&network).repeat(&losses[..2]), 0);
                }
            });
        }
        begun.wait();
        // A few at least, where a process is slow, as under valgrind.
        let (begin, mut forks, mut failed) = (Instant::now(), 0, 0);
        while failed == 0 && (forks < 3 || (forks < 50 && begin.elapsed() < Duration::from_secs(5))) {
            failed = in_child(|| Work::new(&network).repeat(&losses[..2]));
            forks += 1;
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(failed, 0);
    });
}
