//! What all programs have in common: what they do when a terminal goes away, a disk is full, a file system lacks
//! something, threads cannot start, or somebody presses Ctrl-C; and the bounds of numbers that users type.
//!
//! Run all tests (`cargo test`): cargo then builds the programs too.
#![cfg(target_os = "linux")]

mod common;

use common::examples::{assert_refused, example, small_data};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A folder with a data set.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        small_data(dir.path(), 120, 40);
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A short run of `train`.
    fn train(&self, out: &str, args: &[&str]) -> Command {
        let mut command = example("train");
        command.arg("--data").arg(self.0.path()).arg("--out").arg(self.path(out));
        command.args(["--hidden", "12", "--inhibitory", "2"]).args(args);
        command
    }

    /// A short experiment of six runs.
    fn paper(&self, out: &str, args: &[&str]) -> Command {
        let mut command = example("paper");
        command.arg("--data").arg(self.0.path()).arg("--out").arg(self.path(out));
        let flags = [
            ["--hidden", "12"],
            ["--interneurons", "2"],
            ["--networks", "mlp,dann-nc"],
            ["--trials", "1"],
            ["--seeds", "2"],
            ["--validation", "20"],
            ["--batch", "16"],
            ["--search-epochs", "2"],
        ];
        command.args(flags.iter().filter(|flag| !args.contains(&flag[0])).flatten()).args(args);
        command
    }

    fn results(&self, out: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(out).join("results.json")).unwrap()).unwrap()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// The end of a pipe that nobody reads.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[track_caller]
fn assert_no_panic(output: &Output) {
    assert!(!stderr(output).contains("panicked") && output.status.code() != Some(101), "{}", stderr(output));
}

#[test]
fn progress_that_cannot_be_shown_is_not_shown() {
    let bench = Bench::new();
    for (name, gone) in [("full", full as fn() -> Stdio), ("unread", unread)] {
        let output = bench.train(name, &["--epochs", "2", "--model", "mlp"]).stderr(gone()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{name}");
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("test error")
                && bench.path(name).join("curves.svg").exists()
        );
        let out = format!("{name}-paper");
        let output = bench.paper(&out, &["--epochs", "2"]).stderr(gone()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{name}");
        assert_eq!(fs::read_dir(bench.path(&out).join("runs")).unwrap().count(), 6);
        // A round takes half a minute without optimisation.
        if !cfg!(debug_assertions) {
            let output = example("soak").args(["--minutes", "1", "--rounds", "1"]).stderr(gone()).output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{name}");
        }
    }
}

#[test]
fn output_that_cannot_be_written_is_an_error_and_a_code() {
    let bench = Bench::new();
    for program in ["train", "paper", "roofline", "soak"] {
        let output = example(program).arg("--help").stdout(full()).output().unwrap();
        assert_refused(&output, "standard output: No space left on device");
    }
    for stdout in [full as fn() -> Stdio, unread] {
        assert_refused(&example("train").arg("--list-isas").stdout(stdout()).output().unwrap(), "standard output: ");
        assert_refused(&example("paper").arg("--print-config").stdout(stdout()).output().unwrap(), "standard output: ");
        if !cfg!(debug_assertions) {
            let soak = example("soak").args(["--rounds", "1"]).stdout(stdout()).output().unwrap();
            assert_refused(&soak, "standard output: ");
        }
        // The files are there all the same.
        let output = bench.train("train", &["--epochs", "1"]).stdout(stdout()).output().unwrap();
        assert_refused(&output, "standard output: ");
        assert!(bench.path("train/curves.svg").exists());
        let output = bench.paper("paper", &["--epochs", "1"]).stdout(stdout()).output().unwrap();
        assert_refused(&output, "standard output: ");
        assert!(bench.path("paper/curves.svg").exists());
        fs::remove_dir_all(bench.path("paper")).unwrap();
    }
}

/// Both ends of a terminal: that of a person, and that of a program.
fn terminal() -> (File, OwnedFd) {
    let (mut person, mut program) = (0, 0);
    let none = std::ptr::null_mut();
    // SAFETY: two descriptors to be written to; the other arguments may be NULL.
    assert_eq!(unsafe { libc::openpty(&mut person, &mut program, none, none.cast(), none.cast()) }, 0);
    // SAFETY: both were opened just now, and nobody else has them.
    unsafe { (File::from_raw_fd(person), OwnedFd::from_raw_fd(program)) }
}

/// What a program shows on a terminal of this kind.
fn shown(mut command: Command, term: &str) -> String {
    let (mut person, program) = terminal();
    let mut child = command.env("TERM", term).stdout(Stdio::null()).stderr(program).spawn().unwrap();
    // The program's end is this process's too, until here.
    drop(command);
    let mut bytes = vec![];
    let mut buffer = [0; 4096];
    // At the end a terminal gives an error.
    while let Ok(n @ 1..) = person.read(&mut buffer) {
        bytes.extend(&buffer[..n]);
    }
    assert!(child.wait().unwrap().success());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn a_terminal_that_can_only_print_lines_gets_lines() {
    let bench = Bench::new();
    let train = || bench.train("out", &["--epochs", "2", "--model", "mlp"]);
    let (bars, lines) = (shown(train(), "xterm"), shown(train(), "dumb"));
    assert!(bars.contains('\u{1b}') && !bars.contains("epoch   1/2"), "{bars:?}");
    assert!(!lines.contains('\u{1b}') && lines.contains("epoch   1/2"), "{lines:?}");
    let paper = |out| bench.paper(out, &["--epochs", "2"]);
    let (bars, lines) = (shown(paper("bars"), "xterm"), shown(paper("lines"), "dumb"));
    assert!(bars.contains('\u{1b}'), "{bars:?}");
    assert!(!lines.contains('\u{1b}') && lines.contains("6/6"), "{lines:?}");
}

/// A library that takes something away from a process, if there is a compiler to make it with.
fn without(bench: &Bench, name: &str, code: &str) -> Option<PathBuf> {
    let (source, library) = (bench.path(&format!("{name}.c")), bench.path(&format!("{name}.so")));
    fs::write(&source, format!("#define _GNU_SOURCE\n#include <errno.h>\n{code}\n")).unwrap();
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).arg("-ldl").output();
    if made.is_ok_and(|output| output.status.success()) {
        return Some(library);
    }
    let _ = writeln!(std::io::stderr(), "SKIPPED: without {name} (there is no C compiler)");
    None
}

#[test]
fn file_systems_without_locks_or_without_sync_will_do() {
    let bench = Bench::new();
    let mut cases = vec![];
    for error in ["ENOSYS", "ENOLCK", "EOPNOTSUPP", "EINVAL"] {
        cases.push((
            "locks",
            format!("int flock(int fd, int op) {{ (void)fd; (void)op; errno = {error}; return -1; }}"),
        ));
    }
    for error in ["EINVAL", "ENOSYS", "EOPNOTSUPP"] {
        cases.push(("sync", format!("int fsync(int fd) {{ (void)fd; errno = {error}; return -1; }}")));
    }
    for (case, (what, code)) in cases.iter().enumerate() {
        let Some(library) = without(&bench, &format!("{what}{case}"), code) else { return };
        let expected =
            if *what == "locks" { "this file system has no locks" } else { "cannot tell when a file is on the disk" };
        let (train, paper) = (format!("train{case}"), format!("paper{case}"));
        let commands = [
            bench.train(&train, &["--epochs", "1", "--checkpoints"]),
            bench.paper(&paper, &["--epochs", "1", "--checkpoints"]),
        ];
        for mut command in commands {
            let output = command.env("LD_PRELOAD", &library).output().unwrap();
            assert!(output.status.success(), "{code}: {}", stderr(&output));
            assert_eq!(stderr(&output).matches(expected).count(), 1, "{code}: said once: {}", stderr(&output));
        }
    }
    // A disk that fails is another thing.
    let code = "int fsync(int fd) { (void)fd; errno = EIO; return -1; }";
    let Some(library) = without(&bench, "disk", code) else { return };
    let output = bench.train("broken", &["--epochs", "1"]).env("LD_PRELOAD", &library).output().unwrap();
    assert_refused(&output, "--out ");
}

/// A system that lets so many threads live at a time, those that have ended included.
fn few_threads(bench: &Bench, most: u32) -> Option<PathBuf> {
    let code = format!(
        "#include <dlfcn.h>
        #include <pthread.h>
        static int started;
        int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *argument) {{
            int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = dlsym(RTLD_NEXT, \"pthread_create\");
            return __sync_fetch_and_add(&started, 1) < {most} ? real(thread, attr, run, argument) : EAGAIN;
        }}"
    );
    without(bench, &format!("threads{most}"), &code)
}

#[test]
fn fewer_threads_than_asked_for_will_do() {
    let bench = Bench::new();
    let many = ["--epochs", "1", "--threads", "16"];
    for most in [0, 1, 5] {
        let Some(library) = few_threads(&bench, most) else { return };
        let (train, paper) = (format!("train{most}"), format!("paper{most}"));
        let commands = [
            bench.train(&train, &many),
            bench.paper(&paper, &[&many[..], &["--seeds", "8", "--trials", "0", "--networks", "mlp,dann-nc"]].concat()),
        ];
        for mut command in commands {
            let output = command.env("LD_PRELOAD", &library).output().unwrap();
            assert!(output.status.success(), "{}", stderr(&output));
            assert!(stderr(&output).contains("of 16 threads the system lets only "), "{}", stderr(&output));
            assert!(String::from_utf8_lossy(&output.stdout).contains("test error"));
        }
        assert!(bench.path(&paper).join("table.md").exists());
    }
}

#[test]
fn many_more_threads_than_cores_are_spoken_of() {
    let bench = Bench::new();
    let output = bench.train("out", &["--epochs", "1", "--model", "mlp", "--threads", "1024"]).output().unwrap();
    assert!(output.status.success() && stderr(&output).contains("wait for one another"), "{}", stderr(&output));
    let output = bench.train("out", &["--epochs", "1", "--model", "mlp", "--threads", "2"]).output().unwrap();
    assert!(output.status.success() && !stderr(&output).contains("wait for one another"), "{}", stderr(&output));
}

/// Starts a program that would not end, and waits until it has done something.
fn start(command: &mut Command, begun: impl Fn() -> bool) -> Child {
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while !begun() || !listens(&child) {
        assert!(start.elapsed() < Duration::from_secs(120), "it never began");
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

/// Whether a program listens to signals yet. On a busy machine it may take seconds to come so far.
fn listens(child: &Child) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{}/status", child.id())) else {
        return true;
    };
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() >> (libc::SIGTERM - 1) & 1 == 1
}

fn signal(child: &Child, signal: i32) {
    // SAFETY: a child that was not waited for yet.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
}

/// Some time, for programs that do not say when they have begun.
fn after(time: Duration) -> impl Fn() -> bool {
    let start = Instant::now();
    move || start.elapsed() > time
}

#[test]
fn an_interrupted_training_leaves_what_there_is() {
    let bench = Bench::new();
    for (name, number) in [("int", libc::SIGINT), ("term", libc::SIGTERM)] {
        let long = ["--epochs", "100000", "--checkpoints", "--model", "mlp,dann", "--lr", "0.01"];
        let saved = bench.path(name).join("networks/mlp-last.safetensors");
        let child = start(bench.train(name, &long).stderr(Stdio::piped()), || saved.exists());
        signal(&child, number);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(128 + number), "{}", stderr(&output));
        let table = String::from_utf8_lossy(&output.stdout);
        assert!(table.contains("(interrupted after ") && bench.path(name).join("curves.svg").exists(), "{table}");
        let results = bench.results(name);
        let runs = results["runs"].as_array().unwrap();
        assert_eq!((runs.len(), &runs[0]["status"]), (1, &"unfinished".into()));
        assert!(!runs[0]["epochs"].as_array().unwrap().is_empty());
    }
}

/// The number of a step is in the checkpoint, so that its learning rate is the same after an interruption; and so are
/// velocities and moments.
#[test]
fn schedules_go_on_to_the_same_bits() {
    let bench = Bench::new();
    let cases: [&[&str]; 3] = [
        &["--schedule", "cosine", "--warmup", "9.5", "--momentum", "0.9", "--clip", "1"],
        &["--schedule", "linear", "--optimiser", "adamw", "--weight-decay", "0.01"],
        &["--schedule", "step", "--step-every", "7", "--step-factor", "0.9", "--optimiser", "eg"],
    ];
    for (index, case) in cases.into_iter().enumerate() {
        let [whole, parts] = ["whole", "parts"].map(|name| format!("{name}-{index}"));
        let long = ["--epochs", "300", "--model", "dann", "--batch", "16", "--lr", "0.005", "--threads", "1"];
        let args = [&long[..], case].concat();
        let output = bench.train(&whole, &args).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let args = [&args[..], &["--checkpoints"]].concat();
        let saved = bench.path(&parts).join("networks/dann-last.safetensors");
        let child = start(bench.train(&parts, &args).stderr(Stdio::piped()), || saved.exists());
        signal(&child, libc::SIGINT);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
        let output = bench.train(&parts, &[&args[..], &["--resume"]].concat()).output().unwrap();
        assert!(output.status.success() && stderr(&output).contains("goes on after epoch"), "{}", stderr(&output));
        let losses = |name: &str| -> Vec<[Value; 2]> {
            let results = bench.results(name);
            let epochs = results["runs"][0]["epochs"].as_array().unwrap().clone();
            epochs.iter().map(|epoch| ["train_loss", "test_loss"].map(|key| epoch[key].clone())).collect()
        };
        assert_eq!(losses(&whole).len(), 300);
        assert!(losses(&whole) == losses(&parts), "{case:?}");
    }
}

#[test]
fn an_interrupted_experiment_says_how_to_go_on() {
    let bench = Bench::new();
    let record = bench.path("out/runs/mlp-search-00.json");
    let child =
        start(bench.paper("out", &["--epochs", "100000", "--seeds", "4"]).stderr(Stdio::piped()), || record.exists());
    signal(&child, libc::SIGTERM);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143), "{}", stderr(&output));
    assert!(stderr(&output).contains(" runs are finished; --resume goes on"), "{}", stderr(&output));
    assert!(record.exists() && output.stdout.is_empty());
}

#[test]
fn measuring_and_soaking_end_cleanly_too() {
    let mut soak = example("soak");
    soak.args(["--minutes", "60"]).stderr(Stdio::piped());
    let child = start(&mut soak, after(Duration::from_millis(500)));
    signal(&child, libc::SIGINT);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("every loss as on one thread"));
    if cfg!(debug_assertions) {
        return eprintln!("SHRUNK: the roofline takes minutes without optimisation");
    }
    let mut roofline = example("roofline");
    roofline.args(["--quick", "--seconds", "80000", "--isa", "portable", "--threads", "1"]).stderr(unread());
    let child = start(&mut roofline, after(Duration::from_millis(500)));
    signal(&child, libc::SIGINT);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("GFLOP/s"));
}

/// A step that takes long is not waited for by who presses twice.
#[test]
fn the_second_signal_ends_at_once() {
    let bench = Bench::new();
    small_data(bench.0.path(), 2000, 40);
    let large =
        ["--hidden", "3000,3000,3000", "--batch", "2000", "--threads", "1", "--model", "mlp", "--isa", "portable"];
    let mut child = start(&mut bench.train("out", &large), || bench.path("out/lock").exists());
    std::thread::sleep(Duration::from_millis(200));
    signal(&child, libc::SIGINT);
    // One that comes with the first is the same wish.
    signal(&child, libc::SIGTERM);
    std::thread::sleep(Duration::from_millis(800));
    // Again and again: on a busy machine the first may have been heard late.
    while child.try_wait().unwrap().is_none() {
        signal(&child, libc::SIGINT);
        std::thread::sleep(Duration::from_millis(100));
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(libc::SIGINT), "{}", stderr(&output));
}

#[test]
fn numbers_that_users_type_have_bounds() {
    const LARGE: [&str; 4] = ["18446744073709551615", "18446744073709551616", "9223372036854775808", "-1"];
    let numbers: [(&str, &[&str]); 4] = [
        ("train", &["--epochs", "--batch", "--threads", "--seed"]),
        (
            "paper",
            &["--epochs", "--batch", "--threads", "--seed", "--seeds", "--trials", "--validation", "--drawn-train"],
        ),
        ("roofline", &["--threads", "--seconds"]),
        ("soak", &["--minutes", "--rounds", "--seed"]),
    ];
    for (program, options) in numbers {
        for option in options {
            for value in LARGE.iter().chain(&["", "1e3000", "NaN", "0x10", "1.5e1", "ten"]) {
                if (*option, *value) == ("--minutes", "1.5e1") {
                    continue;
                }
                let output = example(program).arg(format!("{option}={value}")).output().unwrap();
                assert_refused(&output, option);
                assert_no_panic(&output);
            }
        }
    }
    let output = example("train").args(["--threads", "99999999"]).output().unwrap();
    assert_refused(&output, "expected a whole number from 1 to 1024");
}

#[test]
fn paths_are_utf_8_everywhere() {
    let path = Path::new(std::ffi::OsStr::from_bytes(b"no-\xff-utf8"));
    let options = [
        ("train", "--data"),
        ("train", "--out"),
        ("paper", "--data"),
        ("paper", "--out"),
        ("paper", "--config"),
        ("roofline", "--json"),
    ];
    let dir = tempfile::tempdir().unwrap();
    for (program, option) in options {
        let output = example(program).arg(option).arg(path).current_dir(dir.path()).output().unwrap();
        assert_refused(&output, "expected UTF-8");
        assert!(stderr(&output).contains(option), "{}", stderr(&output));
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
