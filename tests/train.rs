//! The example `train`: what it writes, and what it says to bad input.
//!
//! Run all tests (`cargo test`): cargo then builds the example too. `--test train` alone finds it as it was last built.

mod common;

use common::examples::{assert_refused, example};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Output;

fn train(args: &[&str]) -> Output {
    example("train").args(args).output().unwrap()
}

fn small_data(dir: &Path) {
    common::examples::small_data(dir, 120, 40);
}

#[test]
fn it_trains_and_reports() {
    let dir = tempfile::tempdir().unwrap();
    small_data(dir.path());
    let out = dir.path().join("deep/out");
    let (data, out_name) = (dir.path().to_str().unwrap(), out.to_str().unwrap());
    let args =
        ["--data", data, "--out", out_name, "--epochs", "2", "--hidden", "12,7", "--inhibitory", "3", "--batch", "33"];
    let output = train(&[&args[..], &["--threads", "2", "--seed", "5", "--model", "dann,mlp"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("test error") && table.contains("images/s") && table.contains("mlp"), "{table}");

    let results: Value = serde_json::from_slice(&std::fs::read(out.join("results.json")).unwrap()).unwrap();
    let runs = results["runs"].as_array().unwrap();
    assert_eq!(runs.iter().map(|run| run["model"].as_str().unwrap()).collect::<Vec<_>>(), ["dann", "mlp"]);
    for (run, lr) in runs.iter().zip([0.1107, 0.2976]) {
        assert_eq!((&run["seed"], &run["threads"]), (&5.into(), &2.into()));
        assert_eq!(run["lr"].as_f64().unwrap(), lr);
        assert!(interneuron::Isa::NAMES.contains(&run["isa"].as_str().unwrap()));
        assert!(run["step_us_median"].as_f64().unwrap() > 0.0);
        let epochs = run["epochs"].as_array().unwrap();
        assert_eq!(epochs.len(), 2);
        for (epoch, number) in epochs.iter().zip(1..) {
            assert_eq!(epoch["epoch"], number);
            for key in ["train_loss", "test_loss", "seconds"] {
                assert!(epoch[key].as_f64().unwrap() > 0.0, "{key}");
            }
            for key in ["train_error", "test_error"] {
                assert!((0.0..=100.0).contains(&epoch[key].as_f64().unwrap()), "{key}");
            }
        }
    }
    let picture = std::fs::read_to_string(out.join("curves.svg")).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("polyline"), "a picture with curves");
}

#[test]
fn the_seed_decides_everything_but_time() {
    let dir = tempfile::tempdir().unwrap();
    small_data(dir.path());
    let run = |out: &str, threads: &str, seed: &str| -> Vec<Value> {
        let out: PathBuf = dir.path().join(out);
        let args = ["--data", dir.path().to_str().unwrap(), "--out", out.to_str().unwrap(), "--epochs", "2"];
        let output = train(&[&args[..], &["--hidden", "20", "--threads", threads, "--seed", seed]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let results: Value = serde_json::from_slice(&std::fs::read(out.join("results.json")).unwrap()).unwrap();
        let runs = results["runs"].as_array().unwrap();
        let epochs = runs.iter().flat_map(|run| run["epochs"].as_array().unwrap());
        epochs.flat_map(|epoch| ["train_loss", "test_loss"].map(|key| epoch[key].clone())).collect()
    };
    assert_eq!(run("a", "1", "3"), run("b", "3", "3"));
    assert_ne!(run("a", "1", "3"), run("c", "1", "4"));
}

#[test]
fn bad_input_gets_one_line_and_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    small_data(dir.path());
    let bad = dir.path().join("bad");
    std::fs::create_dir(&bad).unwrap();
    small_data(&bad);
    std::fs::write(bad.join("t10k-labels-idx1-ubyte"), [0, 0, 8, 1, 0, 0, 0, 99]).unwrap();
    let [data, empty, file, bad] = [dir.path(), &empty, &file, &bad].map(|path| path.to_str().unwrap());
    let below_file = format!("{file}/out");
    let cases: &[(&[&str], &str)] = &[
        (&["--model", "mlp,perceptron"], "perceptron"),
        (&["--epochs", "0"], "--epochs"),
        (&["--batch", "many"], "--batch"),
        (&["--batch", "121", "--data", data], "--batch is 121: expected at most 120"),
        (&["--lr", "-1"], "--lr"),
        (&["--lr", "NaN"], "--lr"),
        (&["--hidden", "10,0"], "--hidden"),
        (&["--hidden", "1000000000000", "--data", data], "do not fit in memory"),
        (&["--hidden", "18446744073709551615", "--data", data], "fits in memory"),
        (&["--threads", "0"], "--threads"),
        (&["--isa", "mmx"], "unknown instruction set \"mmx\""),
        (&["--data", "/no/such/folder"], "/no/such/folder: no such folder"),
        (&["--data", empty], "train-images-idx3-ubyte: no such file"),
        (&["--data", bad], "t10k-labels-idx1-ubyte"),
        (&["--out", file], "--out"),
        (&["--out", &below_file], "--out"),
        (&["--no-such-option"], "--no-such-option"),
    ];
    for (args, expected) in cases {
        // Where a case does not name a folder of its own, it must fail before anything is written.
        let out = dir.path().join("untouched");
        let default = ["--out", out.to_str().unwrap()];
        let args = if args.contains(&"--out") { args.to_vec() } else { [&default[..], args].concat() };
        assert_refused(&train(&args), expected);
        assert!(!out.join("results.json").exists());
    }
}

#[test]
fn divergence_in_the_last_step_is_told_too() {
    let dir = tempfile::tempdir().unwrap();
    small_data(dir.path());
    for lr in ["1e20", "1e30"] {
        let out = dir.path().join(lr);
        let args = ["--data", dir.path().to_str().unwrap(), "--out", out.to_str().unwrap(), "--epochs", "1"];
        let output = train(&[&args[..], &["--batch", "120", "--hidden", "20", "--lr", lr, "--model", "mlp"]].concat());
        assert_eq!(output.status.code(), Some(1), "{lr}: {}", String::from_utf8_lossy(&output.stderr));
        let stderr = String::from_utf8(output.stderr).unwrap();
        let when = format!("after epoch 1, step 1, at learning rate {}", lr.parse::<f64>().unwrap());
        assert!(stderr.contains("mlp stopped: ") && stderr.contains(&when), "{stderr}");
        assert!(out.join("curves.svg").exists() && out.join("results.json").exists());
    }
}

#[test]
fn a_diverged_run_is_told_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    small_data(dir.path());
    let out = dir.path().join("out");
    let args = ["--data", dir.path().to_str().unwrap(), "--out", out.to_str().unwrap(), "--epochs", "2"];
    let output = train(&[&args[..], &["--hidden", "20", "--lr", "1e30", "--model", "mlp,mlp"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr.matches("mlp stopped: the loss is").count(), 2, "{stderr}");
    let rate = format!(" at learning rate {}", 1e30);
    assert!(stderr.contains(" in step 1") && stderr.contains(&rate), "{stderr}");
    let results: Value = serde_json::from_slice(&std::fs::read(out.join("results.json")).unwrap()).unwrap();
    assert_eq!(results["runs"].as_array().unwrap().len(), 2);
}
