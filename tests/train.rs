//! The example `train`: what it writes, and what it says to bad input.
//!
//! Run all tests (`cargo test`): cargo then builds the example too. `--test train` alone finds it as it was last built.

mod common;

use common::examples::{assert_refused, example};
use interneuron::{Context, MatRef, checkpoint};
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
        (&["--optimiser", "adam"], "--optimiser <NAME>': expected one of sgd, adamw, eg, adamw-eg"),
        (&["--schedule", "exponential"], "--schedule <NAME>': expected one of constant, step, linear, cosine"),
        (&["--standardise", "both"], "--standardise <WHICH>': expected one of no, all, each"),
        (&["--remedy", "hope"], "--remedy <NAME>': expected one of none, shift, floor, root, subtractive"),
        (&["--preset", "slow"], "--preset <NAME>': expected fast"),
        (&["--momentum", "1"], "--momentum <M>': expected a number from 0 to 0.9999"),
        (&["--momentum", "NaN"], "--momentum"),
        (&["--weight-decay", "-0.1"], "--weight-decay <L>': expected a number from 0 to 1"),
        (&["--clip", "-1"], "--clip <NORM>': expected 0, or a number from 1e-9 to 1e9"),
        (&["--step-every", "0"], "--step-every"),
        (&["--step-factor", "1.5"], "--step-factor <F>': expected a number from 0 to 1"),
        (&["--warmup", "1e9"], "--warmup <EPOCHS>': expected a number from 0 to 100000"),
        (&["--data", data, "--warmup", "2.5", "--epochs", "2"], "--warmup is 2.5: expected at most 2, the epochs"),
        (
            &["--data", data, "--optimiser", "adamw", "--momentum", "0.9"],
            "--momentum is 0.9: expected 0 with adamw, which has moments",
        ),
        (
            &["--data", data, "--optimiser", "adamw-eg", "--lr", "5", "--weight-decay", "0.5"],
            "--weight-decay is 0.5: expected at most 1 / 5, the rate, with adamw-eg",
        ),
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

/// What is in the results but times.
fn results(out: &Path) -> Value {
    let mut results: Value = serde_json::from_slice(&std::fs::read(out.join("results.json")).unwrap()).unwrap();
    for run in results["runs"].as_array_mut().unwrap() {
        run["step_us_median"] = Value::Null;
        run["images_per_second"] = Value::Null;
        run["checkpoints"] = Value::Null;
        for epoch in run["epochs"].as_array_mut().unwrap() {
            epoch["seconds"] = Value::Null;
        }
    }
    results
}

/// A short training in a folder with data.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        small_data(dir.path());
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, out: &str, args: &[&str]) -> Output {
        let mut command = example("train");
        command.arg("--data").arg(self.0.path()).arg("--out").arg(self.path(out));
        command.args(["--hidden", "12", "--inhibitory", "3", "--batch", "16"]).args(args).output().unwrap()
    }

    #[track_caller]
    fn succeed(&self, out: &str, args: &[&str]) -> String {
        let output = self.run(out, args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stderr}");
        stderr
    }
}

#[test]
fn what_was_stopped_goes_on_to_the_same_bits() {
    let bench = Bench::new();
    bench.succeed("whole", &["--epochs", "5", "--model", "mlp,dann,mlp"]);
    // Two networks have three epochs, and one of them a checkpoint that is older; the third was not begun.
    bench.succeed("parts", &["--epochs", "2", "--model", "dann", "--checkpoints"]);
    let old = std::fs::read(bench.path("parts/networks/dann-last.safetensors")).unwrap();
    bench.succeed("parts", &["--epochs", "3", "--model", "mlp,dann", "--checkpoints", "--resume"]);
    std::fs::write(bench.path("parts/networks/dann-last.safetensors"), old).unwrap();
    let rest = ["--epochs", "5", "--model", "mlp,dann,mlp", "--checkpoints", "--resume", "--threads", "1"];
    let stderr = bench.succeed("parts", &rest);
    assert!(
        stderr.contains("mlp: goes on after epoch 3") && stderr.contains("dann: goes on after epoch 2"),
        "{stderr}"
    );
    let threads = |mut results: Value| {
        results["runs"].as_array_mut().unwrap().iter_mut().for_each(|run| run["threads"] = Value::Null);
        results
    };
    assert_eq!(threads(results(&bench.path("whole"))), threads(results(&bench.path("parts"))));
    let stderr = bench.succeed("parts", &rest);
    assert_eq!(stderr.matches("finished before").count(), 3, "{stderr}");
    // The best by the test error, and the last.
    let runs = results(&bench.path("parts"));
    let errors =
        runs["runs"][0]["epochs"].as_array().unwrap().iter().map(|epoch| epoch["test_error"].as_f64().unwrap());
    let errors: Vec<f64> = errors.collect();
    let best = errors.iter().position(|error| errors.iter().all(|other| error <= other)).unwrap() as u64 + 1;
    for (which, epoch) in [("best", best), ("last", 5)] {
        let path = bench.path(&format!("parts/networks/mlp-{which}.safetensors"));
        let (network, run) = interneuron::checkpoint::load::<f32>(path, &interneuron::Isa::best().into()).unwrap();
        // Seven steps of 17 or 18 images.
        assert_eq!((network.steps(), run.seed), (epoch * 7, 1), "{which}");
    }
    assert!(bench.path("parts/networks/mlp-2-last.safetensors").exists(), "the second of a name has files of its own");
}

#[test]
fn resuming_refuses_other_settings_and_keeps_other_networks() {
    let bench = Bench::new();
    bench.succeed("out", &["--epochs", "2", "--model", "mlp"]);
    let before = std::fs::read(bench.path("out/results.json")).unwrap();
    let cases: [(&[&str], &str); 7] = [
        (&["--batch", "17"], "batch is 17: expected 16"),
        (&["--hidden", "13"], "hidden is [13]: expected [12]"),
        (&["--inhibitory", "4"], "inhibitory is 4: expected 3"),
        (&["--last-batch", "short"], "last-batch is short: expected spread"),
        (&["--seed", "2"], "seed is 2: expected 1"),
        (&["--lr", "0.5"], "lr of mlp is 0.5: expected 0.2976"),
        (&["--epochs", "1"], "epochs is 1: expected at least 2, as of mlp"),
    ];
    for (args, expected) in cases {
        let mut command = example("train");
        command
            .arg("--data")
            .arg(bench.0.path())
            .arg("--out")
            .arg(bench.path("out"))
            .args(["--resume", "--model", "mlp"]);
        let rest = [["--hidden", "12"], ["--inhibitory", "3"], ["--batch", "16"], ["--epochs", "2"]];
        command.args(rest.iter().filter(|rest| rest[0] != args[0]).flatten()).args(args);
        assert_refused(&command.output().unwrap(), &format!("results.json: {expected}"));
    }
    std::fs::write(bench.path("out/results.json"), &before[..before.len() / 2]).unwrap();
    assert_refused(&bench.run("out", &["--resume", "--epochs", "2"]), "--resume: ");
    std::fs::write(bench.path("out/results.json"), &before).unwrap();
    bench.succeed("out", &["--epochs", "2", "--model", "dann", "--resume"]);
    let runs = results(&bench.path("out"));
    let models: Vec<_> = runs["runs"].as_array().unwrap().iter().map(|run| run["model"].clone()).collect();
    assert_eq!(models, ["dann", "mlp"]);
    let whole = std::fs::read(bench.path("t10k-labels-idx1-ubyte")).unwrap();
    let mut other = whole.clone();
    other[9] ^= 1;
    std::fs::write(bench.path("t10k-labels-idx1-ubyte"), other).unwrap();
    let output = bench.run("out", &["--epochs", "2", "--model", "dann", "--resume"]);
    assert_refused(&output, "the test labels (");
    std::fs::write(bench.path("t10k-labels-idx1-ubyte"), whole).unwrap();
    let stderr = bench.succeed("out", &["--epochs", "2", "--model", "dann"]);
    assert!(stderr.contains("the results of an earlier run will be replaced"), "{stderr}");
}

#[test]
fn optimisers_schedules_and_clipping_are_recorded() {
    let bench = Bench::new();
    let short = ["--epochs", "2", "--model", "mlp,dann"];
    let losses = |name: &str, args: &[&str]| {
        bench.succeed(name, &[&short[..], args].concat());
        let results = results(&bench.path(name));
        let runs = results["runs"].as_array().unwrap().clone();
        let losses = runs.iter().map(|run| run["epochs"][1]["train_loss"].as_f64().unwrap()).collect::<Vec<_>>();
        assert!(losses.iter().all(|loss| loss.is_finite()));
        (results["settings"]["training"].clone(), losses)
    };
    let (plain, first) = losses("plain", &[]);
    assert_eq!((&plain["optimiser"], &plain["schedule"]), (&"sgd".into(), &"constant".into()));
    let mut seen = vec![first];
    type Case = (&'static [&'static str], [(&'static str, Value); 2]);
    let cases: [Case; 8] = [
        (&["--momentum", "0.9"], [("momentum", 0.9.into()), ("optimiser", "sgd".into())]),
        (
            &["--optimiser", "adamw", "--weight-decay", "0.01"],
            [("weight_decay", 0.01.into()), ("momentum", 0.0.into())],
        ),
        (&["--optimiser", "eg", "--momentum", "0.5"], [("optimiser", "eg".into()), ("momentum", 0.5.into())]),
        (&["--optimiser", "adamw-eg"], [("optimiser", "adamw-eg".into()), ("clip", 0.0.into())]),
        (&["--clip", "0.1"], [("clip", 0.1.into()), ("optimiser", "sgd".into())]),
        (&["--schedule", "linear"], [("schedule", "linear".into()), ("warmup", 0.0.into())]),
        (&["--schedule", "cosine", "--warmup", "0.5"], [("schedule", "cosine".into()), ("warmup", 0.5.into())]),
        (
            &["--schedule", "step", "--step-every", "1", "--step-factor", "0.5"],
            [("step_every", 1.into()), ("step_factor", 0.5.into())],
        ),
    ];
    for (index, (args, fields)) in cases.iter().enumerate() {
        let (training, losses) = losses(&index.to_string(), args);
        fields.iter().for_each(|(name, value)| assert_eq!(&training[name], value, "{args:?}: {name}"));
        assert!(!seen.contains(&losses), "{args:?} does something");
        seen.push(losses);
    }
}

/// What older versions wrote says nothing of optimisers: these were plain steps.
#[test]
fn results_of_older_versions_are_gone_on_with() {
    let bench = Bench::new();
    bench.succeed("out", &["--epochs", "2", "--model", "mlp", "--checkpoints"]);
    let path = bench.path("out/results.json");
    let mut old: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for newer in ["training", "inputs"] {
        assert!(old["settings"].as_object_mut().unwrap().remove(newer).is_some());
    }
    std::fs::write(&path, old.to_string()).unwrap();
    let resume = ["--epochs", "3", "--model", "mlp", "--resume"];
    for (args, expected) in [
        (["--momentum", "0.9"], "momentum is 0.9: expected 0"),
        (["--optimiser", "adamw"], "optimiser is adamw: expected sgd"),
        (["--schedule", "cosine"], "schedule is cosine: expected constant"),
        (["--clip", "2"], "clip is 2: expected 0"),
        (["--remedy", "root"], "remedy is root: expected none"),
    ] {
        assert_refused(&bench.run("out", &[&resume[..], &args].concat()), &format!("results.json: {expected}"));
    }
    let stderr = bench.succeed("out", &resume);
    assert!(stderr.contains("mlp: goes on after epoch 2"), "{stderr}");
}

/// A preset is a set of defaults; a schedule that ends elsewhere is another one.
#[test]
fn the_fast_preset_may_be_overridden() {
    let bench = Bench::new();
    bench.succeed("fast", &["--preset", "fast", "--epochs", "2", "--checkpoints"]);
    let results = results(&bench.path("fast"));
    let settings = &results["settings"];
    assert_eq!((&settings["hidden"], &settings["training"]["optimiser"]), (&vec![12].into(), &"adamw".into()));
    assert_eq!((&settings["training"]["schedule"], &settings["schedule_epochs"]), (&"linear".into(), &2.into()));
    let models: Vec<_> = results["runs"].as_array().unwrap().iter().map(|run| run["model"].clone()).collect();
    assert_eq!(models, ["mlp", "dann"]);
    let output = bench.run("fast", &["--preset", "fast", "--epochs", "3", "--resume"]);
    assert_refused(&output, "results.json: epochs is 3: expected 2");
}

#[test]
fn a_diverged_run_says_so_in_the_results() {
    let bench = Bench::new();
    let output = bench.run("out", &["--epochs", "3", "--model", "mlp,dann", "--lr", "1e30"]);
    assert_eq!(output.status.code(), Some(1));
    for run in results(&bench.path("out"))["runs"].as_array().unwrap() {
        let diverged = &run["diverged"];
        assert_eq!((&run["status"], &diverged["lr"]), (&"diverged".into(), &1e30.into()));
        assert!(diverged["step"].as_u64().unwrap() <= 7 && !diverged["why"].as_str().unwrap().is_empty(), "{diverged}");
    }
}

/// A folder that is removed while networks are trained is made again; a disk that is full leaves the table.
#[cfg(unix)]
#[test]
fn the_table_comes_first() {
    use std::process::Stdio;
    let bench = Bench::new();
    let mut command = example("train");
    command
        .arg("--data")
        .arg(bench.0.path())
        .arg("--out")
        .arg(bench.path("sub/out"))
        .args(["--hidden", "12", "--model"]);
    command.args(["mlp", "--epochs", "4000", "--threads", "1"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    for parents in [false, true] {
        let child = command.spawn().unwrap();
        while !bench.path("sub/out/lock").exists() {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        std::fs::remove_dir_all(bench.path(if parents { "sub" } else { "sub/out" })).unwrap();
        let output = child.wait_with_output().unwrap();
        let (table, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(table.contains("mlp  ") && table.contains("test error"), "{table}");
        if parents {
            // That was another disk, perhaps.
            assert_refused(&output, "sub/out/results.json: ");
        } else {
            assert!(output.status.success() && bench.path("sub/out/results.json").exists(), "{stderr}");
        }
    }
}

/// A run is not gone on with from a checkpoint that an earlier one left in the folder.
#[test]
fn checkpoints_of_other_runs_are_passed_over() {
    let bench = Bench::new();
    let run = |out, args: &[&str]| bench.succeed(out, &[&["--model", "mlp"], args].concat());
    run("out", &["--epochs", "2", "--lr", "0.1", "--checkpoints"]);
    run("out", &["--epochs", "2", "--lr", "0.01"]);
    let stderr = run("out", &["--epochs", "4", "--lr", "0.01", "--checkpoints", "--resume"]);
    assert!(stderr.contains("mlp: begins again: there is no checkpoint of it"), "{stderr}");
    run("whole", &["--epochs", "4", "--lr", "0.01"]);
    assert_eq!(results(&bench.path("out")), results(&bench.path("whole")));
    // Checkpoints that are there are used, also if no more are asked for.
    let stderr = run("out", &["--epochs", "5", "--lr", "0.01", "--resume"]);
    assert!(stderr.contains("mlp: goes on after epoch 4"), "{stderr}");
}

/// A checkpoint that is asked for and cannot be saved is an error, after all else is done.
#[cfg(unix)]
#[test]
fn a_checkpoint_that_cannot_be_saved_is_an_error() {
    let bench = Bench::new();
    let folder = bench.path("out/networks/mlp-last.safetensors");
    std::fs::create_dir_all(folder.join("in the way")).unwrap();
    // As if an earlier run had left it: what begins anew would remove a file.
    std::fs::create_dir_all(bench.path("out")).unwrap();
    bench.succeed("before", &["--epochs", "1", "--model", "mlp"]);
    std::fs::copy(bench.path("before/results.json"), bench.path("out/results.json")).unwrap();
    let output = bench.run("out", &["--epochs", "2", "--model", "mlp", "--checkpoints", "--resume"]);
    assert_refused(&output, "mlp-last.safetensors: ");
    assert!(String::from_utf8_lossy(&output.stdout).contains("test error") && bench.path("out/curves.svg").exists());
}

#[test]
fn classes_come_from_the_labels() {
    let bench = Bench::new();
    let relabel = |first: u8, classes: u32| {
        for (name, count) in [("train", 120_u32), ("t10k", 40)] {
            let labels = (0..count).map(|i| first + (i % classes) as u8);
            let header = [0x0801, count].into_iter().flat_map(u32::to_be_bytes);
            let path = bench.path(&format!("{name}-labels-idx1-ubyte"));
            std::fs::write(path, header.chain(labels).collect::<Vec<u8>>()).unwrap();
        }
    };
    for (first, classes, told) in [
        (1, 26, "26 classes (labels 1 to 26)"),
        (0, 47, "47 classes (labels 0 to 46)"),
        (0, 62, "62 classes (labels 0 to 61)"),
        (1, 10, "10 classes (labels 1 to 10)"),
        (254, 2, "2 classes (labels 254 to 255)"),
    ] {
        relabel(first, classes);
        let stderr = bench.succeed(told, &["--epochs", "1", "--model", "mlp,dann"]);
        assert!(stderr.contains(told), "{stderr}");
        assert_eq!(results(&bench.path(told))["settings"]["classes"], classes);
    }
    relabel(7, 1);
    assert_refused(&bench.run("one", &["--epochs", "1"]), "one class alone, label 7: expected at least 2");
}

/// Standardised pixels, as tutorials make them: the networks that divide by inhibition are warned of and stopped, and no
/// others, and what is asked for then helps.
#[test]
fn negative_inputs_are_not_silent() {
    let bench = Bench::new();
    for (name, count) in [("train", 120_u32), ("t10k", 40)] {
        let bytes = std::fs::read(bench.path(&format!("{name}-images-idx3-ubyte"))).unwrap();
        let pixels = bytes[16..].iter().flat_map(|&pixel| ((f32::from(pixel) / 255.0 - 0.13) / 0.31).to_be_bytes());
        let header = [0x0d03, count, 28, 28].into_iter().flat_map(u32::to_be_bytes);
        std::fs::write(bench.path(&format!("{name}-images-idx3-ubyte")), header.chain(pixels).collect::<Vec<u8>>())
            .unwrap();
    }
    let args = ["--epochs", "1", "--model", "mlp,dann", "--lr", "0.001"];
    let stopped = |name: &str, more: &[&str]| {
        let output = bench.run(name, &[&args[..], more].concat());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{stderr}");
        let stopped =
            |line: &str| line.contains("dann stopped: layer 0: ") && line.contains("of its divisors are below ε");
        let line = stderr.lines().find(|line| stopped(line)).expect(&stderr);
        assert!(line.ends_with("--remedy shift, floor, root or subtractive makes up for inputs below 0"), "{line}");
        assert!(!stderr.contains("mlp stopped"), "{stderr}");
        stderr
    };
    let stderr = stopped("out", &[]);
    assert!(stderr.contains("warning: pixels reach from -0.4"), "{stderr}");
    stopped("each", &["--standardise", "each"]);
    for remedy in ["shift", "floor", "root", "subtractive"] {
        let stderr = bench.succeed(remedy, &[&args[..], &["--remedy", remedy]].concat());
        assert!(stderr.contains(&format!("remedy {remedy}: ")) && !stderr.contains("warning"), "{stderr}");
    }
}

/// What is done to the images is recorded in results and checkpoints, done to test images alike, and done again where
/// training goes on.
#[test]
fn preparations_are_recorded() {
    let bench = Bench::new();
    let prepared = ["--standardise", "each", "--remedy", "shift", "--model", "dann", "--checkpoints"];
    let run = |name: &str, args: &[&str]| bench.succeed(name, &[&prepared[..], args].concat());
    run("whole", &["--epochs", "3"]);
    run("parts", &["--epochs", "1"]);
    let stderr = run("parts", &["--epochs", "3", "--resume"]);
    assert!(stderr.contains("dann: goes on after epoch 1"), "{stderr}");
    assert!(stderr.contains("each pixel is divided by its deviation") && !stderr.contains("warning"), "{stderr}");
    let results = [results(&bench.path("whole")), results(&bench.path("parts"))];
    assert_eq!(results[0], results[1]);
    let inputs = &results[0]["settings"]["inputs"];
    assert_eq!((&inputs["standardise"], &inputs["remedy"]), (&"each".into(), &"shift".into()));
    for (args, expected) in [
        (["--standardise", "all", "--remedy", "shift"], "standardise is all: expected each"),
        (["--standardise", "each", "--remedy", "none"], "remedy is none: expected shift"),
    ] {
        let args = [&args[..], &["--model", "dann", "--epochs", "3", "--resume"]].concat();
        assert_refused(&bench.run("whole", &args), &format!("results.json: {expected}"));
    }

    // Who loads the network finds what its inputs are.
    let file = bench.path("whole/networks/dann-last.safetensors");
    let (mut net, run) = checkpoint::load::<f32>(&file, &Context::new().unwrap()).unwrap();
    let mut data = interneuron_datasets::load(bench.path("")).unwrap();
    let statistics = data.train.images.statistics().unwrap();
    let scaler = run.scaler.expect("inputs that were shifted");
    assert_eq!(scaler.offset(), statistics.least());
    data.test.images.scale_by(std::sync::Arc::new(scaler)).unwrap();
    let mut x = vec![];
    data.test.images.gather(0..40, &mut x);
    let labels: Vec<u32> = data.test.labels.iter().map(|&label| label.into()).collect();
    let tested = net.evaluate(MatRef::new(&x, 40, 784).unwrap(), &labels).unwrap();
    let epochs = results[0]["runs"][0]["epochs"].as_array().unwrap();
    assert_eq!(epochs[2]["test_error"], tested.error_percent());
    // It was applied in f32, as which it is held there.
    assert_eq!(epochs[2]["test_loss"].as_f64().unwrap(), tested.loss);
}
