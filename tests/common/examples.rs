//! What the tests of the examples share.

use std::path::Path;
use std::process::{Command, Output};

/// An example, which cargo builds with the tests, beside them.
pub fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().find(|dir| dir.join("examples").is_dir()).expect("cargo test builds the examples");
    Command::new(target.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX)))
}

/// A small data set of drawn images in the format of MNIST, uncompressed.
pub fn small_data(dir: &Path, train: usize, test: usize) {
    let drawn = interneuron_datasets::digits(train, test, 2);
    for (name, set) in [("train", &drawn.train), ("t10k", &drawn.test)] {
        let header = |words: &[usize]| words.iter().flat_map(|&w| (w as u32).to_be_bytes()).collect::<Vec<u8>>();
        let images = [header(&[0x0803, set.len(), 28, 28]), set.images.pixels.as_bytes().to_vec()].concat();
        let labels = [header(&[0x0801, set.len()]), set.labels.clone()].concat();
        std::fs::write(dir.join(format!("{name}-images-idx3-ubyte")), images).unwrap();
        std::fs::write(dir.join(format!("{name}-labels-idx1-ubyte")), labels).unwrap();
    }
}

/// What a program says to bad input: exit code 2, and one line that ends its output and says what was `expected`.
#[track_caller]
pub fn assert_refused(output: &Output, expected: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "expected {expected}: {stderr}");
    let error: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert!(error.len() == 1 && error[0].contains(expected), "expected {expected}: {stderr}");
    assert!(stderr.trim_end().ends_with(error[0]), "the error ends the output: {stderr}");
}
