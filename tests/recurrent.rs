//! The example `recurrent`: what it writes, and what it says to bad input.
//!
//! Run all tests (`cargo test`): cargo then builds the example too. `--test recurrent` alone finds it as it was last built.

mod common;

use common::examples::{assert_refused, example, small_data};
use serde_json::Value;
use std::path::Path;

/// The results of a run that ends well.
fn results(args: &[&str], out: &Path) -> Value {
    let out_name = out.to_str().unwrap();
    let output = example("recurrent").args(args).args(["--out", out_name]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("test error") && table.contains("sequences/s"), "{table}");
    serde_json::from_slice(&std::fs::read(out.join("results.json")).unwrap()).unwrap()
}

/// Numbers of each epoch.
fn of_epochs(results: &Value, key: &str) -> Vec<Value> {
    let runs = results["runs"].as_array().unwrap();
    runs.iter().flat_map(|run| run["epochs"].as_array().unwrap()).map(|epoch| epoch[key].clone()).collect()
}

#[test]
fn every_task_is_trained_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    small_data(dir.path(), 120, 40);
    let data = dir.path().to_str().unwrap();
    let small = ["--hidden", "6", "--batch", "4", "--epochs", "1", "--dt", "50", "--threads", "1"];
    let models = "rnn,dann,dann-nc,dann-div,columns";
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sequences/own.npz");
    let tasks: [(&str, &[&str]); 7] = [
        ("adding", &["--steps", "5"]),
        ("rows", &["--data", data]),
        ("decision", &[]),
        ("matching", &[]),
        ("context", &[]),
        ("song", &[]),
        ("own", &["--data", own]),
    ];
    for (task, more) in tasks {
        let out = dir.path().join(task);
        let results = results(&[&small[..], more, &["--task", task, "--model", models]].concat(), &out);
        assert_eq!(results["settings"]["task"], task);
        let runs = results["runs"].as_array().unwrap();
        let names: Vec<_> = runs.iter().map(|run| run["model"].as_str().unwrap()).collect();
        assert_eq!(names.join(","), models);
        let picture = |name: &str| std::fs::read_to_string(out.join(name)).is_ok_and(|text| text.starts_with("<svg"));
        assert!(picture("curves.svg"), "{task}");
        let cognitive = !["adding", "rows", "own"].contains(&task);
        assert_eq!(
            (picture("activity.svg"), picture("psychometric.svg")),
            (cognitive, cognitive && task != "matching")
        );
        for (run, losses) in runs.iter().zip(of_epochs(&results, "test_loss")) {
            assert!(losses.as_f64().unwrap() > 0.0, "{task}");
            assert!(run["step_us_median"].as_f64().unwrap() > 0.0);
            let points = run["psychometric"].as_array().unwrap();
            assert!(points.iter().all(|point| (0.0..=1.0).contains(&point["first"].as_f64().unwrap())));
        }
        for error in of_epochs(&results, "test_error") {
            let has_labels = !["adding", "song"].contains(&task);
            assert_eq!(
                error.as_f64().is_some_and(|error| (0.0..=100.0).contains(&error)),
                has_labels,
                "{task}: {error}"
            );
        }
    }
}

#[test]
fn the_seed_decides_everything_but_time() {
    let dir = tempfile::tempdir().unwrap();
    let run = |out: &str, threads: &str, seed: &str| {
        let args = ["--task", "decision", "--epochs", "1", "--hidden", "20,10", "--threads", threads, "--seed", seed];
        let results = results(&args, &dir.path().join(out));
        ["train_loss", "test_loss"].map(|key| of_epochs(&results, key))
    };
    assert_eq!(run("a", "1", "3"), run("b", "3", "3"));
    assert_ne!(run("a", "1", "3"), run("c", "1", "4"));
}

#[test]
fn bad_input_gets_one_line_and_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    small_data(dir.path(), 20, 4);
    let data = dir.path().to_str().unwrap();
    let cases: &[(&[&str], &str)] = &[
        (&["--task", "juggling"], "expected one of adding, rows, decision, matching, context, song, own"),
        (&["--model", "lstm"], "expected one of rnn, dann, dann-nc, dann-div, columns"),
        (&["--hidden", "5,0"], "--hidden"),
        (&["--hidden", "1000000000000"], "fits in memory"),
        (&["--steps", "1"], "--steps <T>': expected a whole number from 2 to 10000"),
        (&["--dt", "0"], "--dt <MS>': expected a number from 1 to 100"),
        (&["--noise", "NaN"], "--noise <S>': expected a number from 0 to 10"),
        (&["--clip", "-1"], "--clip <NORM>': expected 0, or a number from 1e-9 to 1e9"),
        (&["--epochs", "0"], "--epochs"),
        (&["--lr", "inf"], "--lr"),
        (&["--data", data], "--data goes with --task rows or own, not with decision"),
        (&["--task", "rows", "--data", data, "--batch", "21"], "--batch is 21: expected at most 20"),
        (&["--task", "rows", "--data", "/nowhere"], "/nowhere"),
        (&["--task", "own"], "--data is missing"),
        (&["--task", "own", "--data", "/nowhere.npz"], "/nowhere.npz"),
        (&["--isa", "mmx"], "mmx"),
    ];
    for (args, expected) in cases {
        let out = dir.path().join("out");
        let output = example("recurrent").args(*args).args(["--out", out.to_str().unwrap()]).output().unwrap();
        assert_refused(&output, expected);
    }
}
