//! Files that take the place of others: whatever happens while they are written, what was there stays whole.
#![cfg(unix)]

#[path = "../examples/common/mod.rs"]
mod common;

use common::files::{UNFINISHED, write_whole};
use interneuron::checkpoint::{self, Run};
use interneuron::{Architecture, Context, Error, Isa, Network, generator};
use rand::RngExt;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;

/// The folder that a child process works in: the tests of this file run themselves again, with it set.
const FOLDER: &str = "INTERNEURON_TEST_FOLDER";

/// This process again, as far as one test.
fn child(test: &str, folder: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]).env(FOLDER, folder);
    command
}

fn network(seed: u64, units: usize) -> Network<f32> {
    Architecture::dann(&[100, units, 3], &[5, 1]).unwrap().seed(seed).build(&Context::new().unwrap()).unwrap()
}

fn save(folder: &Path, network: &Network<f32>, seed: u64) -> Result<(), Error> {
    checkpoint::save(checkpoint_in(folder), network, &Run::new(seed))
}

fn checkpoint_in(folder: &Path) -> PathBuf {
    folder.join("net.safetensors")
}

fn text_in(folder: &Path) -> PathBuf {
    folder.join("text.json")
}

/// A text that says all over which it is.
fn text(number: u64, lines: usize) -> String {
    format!("{number}\n").repeat(lines)
}

/// Panics unless the checkpoint is that of a seed, which it returns, with the network that belongs to it.
#[track_caller]
fn assert_whole<'a>(folder: &Path, network: impl FnOnce(u64) -> &'a Network<f32>) -> u64 {
    let (loaded, run) = checkpoint::load::<f32>(checkpoint_in(folder), &Isa::best().into()).unwrap();
    assert_eq!(run.generator, generator(run.seed));
    assert!(loaded.params().eq(network(run.seed).params()));
    run.seed
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// Tries to replace both files, and panics unless neither can be.
fn fail_to_replace(folder: &Path) {
    let saved = save(folder, &network(2, 80), 2);
    let Err(Error::File { path, reason }) = saved else { panic!("there was room: {saved:?}") };
    assert_eq!(Path::new(&path), checkpoint_in(folder));
    assert!(reason.contains("os error"), "{reason}");
    let error = write_whole(&text_in(folder), &text(2, 40_000)).unwrap_err().to_string();
    assert!(error.contains("text.json: ") && error.contains("os error"), "{error}");
}

/// Runs `fail` with a folder that holds both files, and panics unless they and nothing else are there afterwards.
fn assert_untouched(folder: &Path, fail: impl FnOnce()) {
    let old = network(1, 80);
    save(folder, &old, 1).unwrap();
    write_whole(&text_in(folder), &text(1, 100)).unwrap();
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(checkpoint_in(folder)), mode(text_in(folder)), "as the user's mask has it");
    fail();
    assert_eq!(assert_whole(folder, |_| &old), 1);
    assert_eq!(fs::read_to_string(text_in(folder)).unwrap(), text(1, 100));
    assert_eq!(names(folder), ["net.safetensors", "text.json"]);
}

/// A child that may write no file longer than a limit, which every write then fails at.
#[test]
fn a_write_that_fails_leaves_what_was_there() {
    const LIMIT: &str = "INTERNEURON_TEST_LIMIT";
    if let Some(folder) = env::var_os(FOLDER) {
        let most = env::var(LIMIT).unwrap().parse().unwrap();
        let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
        // SAFETY: the limit lives through the call; to ignore a signal runs nothing when it comes.
        unsafe {
            assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
            assert_ne!(libc::signal(libc::SIGXFSZ, libc::SIG_IGN), libc::SIG_ERR);
        }
        return fail_to_replace(Path::new(&folder));
    }
    // At once, within the header, within the tensors.
    for limit in ["0", "100", "4096", "30000"] {
        let folder = tempfile::tempdir().unwrap();
        assert_untouched(folder.path(), || {
            let mut child = child("a_write_that_fails_leaves_what_was_there", folder.path());
            let output = child.env(LIMIT, limit).output().unwrap();
            assert!(output.status.success(), "{limit}: {}", String::from_utf8_lossy(&output.stderr));
        });
    }
}

/// A file system of this size, if this user may mount one.
struct Disk(TempDir);

impl Disk {
    fn new(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "interneuron-test"]).arg(folder.path());
        let mounted = mount.stdin(Stdio::null()).output().is_ok_and(|output| output.status.success());
        mounted.then_some(Self(folder))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_leaves_what_was_there() {
    let Some(disk) = Disk::new("64k") else {
        return skipped("a full disk (no file system can be mounted)");
    };
    assert_untouched(disk.0.path(), || fail_to_replace(disk.0.path()));
}

/// A child that replaces both files again and again, until it is killed.
#[test]
fn a_kill_leaves_a_whole_file() {
    const BEGIN: &str = "INTERNEURON_TEST_BEGIN";
    const KILLS: u64 = 20;
    let networks = [1, 2, 3].map(|seed| network(seed, 400));
    let of_seed = |seed: u64| &networks[seed as usize % networks.len()];
    if let Some(folder) = env::var_os(FOLDER) {
        let begin = env::var(BEGIN).unwrap().parse().unwrap();
        println!("begun");
        for seed in begin.. {
            save(Path::new(&folder), of_seed(seed), seed).unwrap();
            write_whole(&text_in(Path::new(&folder)), &text(seed, 40_000)).unwrap();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (mut seed, mut rng) = (0, generator(7));
    let start = Instant::now();
    save(folder, of_seed(seed), seed).unwrap();
    write_whole(&text_in(folder), &text(seed, 40_000)).unwrap();
    let time = start.elapsed();
    for _ in 0..KILLS {
        let mut child = child("a_kill_leaves_a_whole_file", folder);
        let begin = (seed + 1).to_string();
        let mut child = child.env(BEGIN, begin).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines().any(|line| line.unwrap().ends_with("begun"));
        std::thread::sleep(time.mul_f64(rng.random_range(0.0..4.0)));
        assert!(said && child.try_wait().unwrap().is_none(), "the child ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();

        let saved = assert_whole(folder, of_seed);
        assert!(saved >= seed, "{saved} after {seed}");
        let written = fs::read_to_string(text_in(folder)).unwrap();
        let number = written.lines().next().unwrap().parse().unwrap();
        assert!(written == text(number, 40_000));
        assert!(number <= saved, "the text {number} is replaced after the checkpoint {saved}");
        seed = saved;
    }
    let left = names(folder).into_iter().filter(|name| name.starts_with('.'));
    let (checkpoints, texts): (Vec<_>, Vec<_>) = left.partition(|name| name.starts_with(".checkpoint-"));
    assert!(texts.iter().all(|name| name.ends_with(UNFINISHED)), "{texts:?}");
    eprintln!("{KILLS} kills in {seed} saves; {} and {} unfinished files", checkpoints.len(), texts.len());
    assert!(seed > 0, "no save was ever finished between kills");
}

/// Says past the capture of the test harness that a test was skipped.
fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}");
}

/// A library that makes every `fsync` fail with the error that a variable numbers.
#[cfg(target_os = "linux")]
fn library_without_fsync(folder: &Path) -> Option<PathBuf> {
    const CODE: &str = "#include <errno.h>\n#include <stdlib.h>\n\
        int fsync(int fd) { (void)fd; errno = atoi(getenv(\"INTERNEURON_TEST_ERRNO\")); return -1; }\n\
        int fdatasync(int fd) { return fsync(fd); }\n";
    let (code, library) = (folder.join("fsync.c"), folder.join("fsync.so"));
    fs::write(&code, CODE).unwrap();
    let mut compiler = Command::new("cc");
    let compiled = compiler.args(["-shared", "-fPIC", "-o"]).args([&library, &code]).output();
    compiled.is_ok_and(|output| output.status.success()).then_some(library)
}

/// A checkpoint is saved where a file system cannot say when a file is on the disk, and not if that fails.
#[test]
#[cfg(target_os = "linux")]
fn a_file_system_without_fsync() {
    const NAME: &str = "a_file_system_without_fsync";
    let says = |number: i32| std::io::Error::from_raw_os_error(number).to_string();
    const ERRNO: &str = "INTERNEURON_TEST_ERRNO";
    if let Some(folder) = env::var_os(FOLDER) {
        let number = env::var(ERRNO).unwrap().parse().unwrap();
        match save(Path::new(&folder), &network(2, 80), 2) {
            Ok(()) => println!("saved"),
            Err(Error::File { reason, .. }) => assert!(reason.contains(&says(number)), "{reason}"),
            Err(error) => panic!("{error}"),
        }
        return;
    }
    let tools = tempfile::tempdir().unwrap();
    let Some(library) = library_without_fsync(tools.path()) else {
        return skipped("a file system without fsync (cc compiles no library)");
    };
    let (old, new) = (network(1, 80), network(2, 80));
    let real = [(libc::EIO, false), (libc::ENOSPC, false), (libc::EDQUOT, false)];
    let unsupported = [(libc::EINVAL, true), (libc::ENOSYS, true), (libc::EOPNOTSUPP, true)];
    for (number, is_saved) in real.into_iter().chain(unsupported) {
        let folder = tempfile::tempdir().unwrap();
        save(folder.path(), &old, 1).unwrap();
        let mut child = child(NAME, folder.path());
        let output = child.env("LD_PRELOAD", &library).env(ERRNO, number.to_string()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}: {said}{}", says(number), String::from_utf8_lossy(&output.stderr));
        assert_eq!(said.contains("saved"), is_saved, "{}: {said}", says(number));
        let (network, seed) = if is_saved { (&new, 2) } else { (&old, 1) };
        assert_eq!(assert_whole(folder.path(), |_| network), seed);
        assert_eq!(names(folder.path()), ["net.safetensors"]);
    }
}
