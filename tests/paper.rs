//! The example `paper`: what it writes, what it says to bad input, and that it can be interrupted at any moment.
//!
//! Run all tests (`cargo test`): cargo then builds the example too. `--test paper` alone finds it as it was last built.

mod common;

use common::examples::{assert_refused, example, small_data};
use interneuron::generator;
use rand::RngExt;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Instant, SystemTime};
use tempfile::TempDir;

/// A data set, and folders for experiments.
struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        small_data(dir.path(), 80, 30);
        let bench = Self { dir };
        let rates = |name| format!("[rates.{name}]\nlow = 0.001\nhigh = 0.03\n");
        bench.file("tame.toml", &["mlp", "dann", "dann-one"].map(rates).concat());
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A small experiment in a folder; `args` come after its own.
    fn command(&self, out: &str, args: &[&str]) -> Command {
        let mut command = example("paper");
        command.args(["--out", self.path(out).to_str().unwrap()]).args(args);
        if !args.contains(&"--resume") {
            command.args(["--data", self.dir.path().to_str().unwrap(), "--hidden", "12,7", "--interneurons", "3"]);
            let given = |flag: &&[&str; 2]| !args.contains(&flag[0]);
            let flags = [
                ["--networks", "mlp,dann,dann-nc"],
                ["--trials", "3"],
                ["--seeds", "2"],
                ["--epochs", "6"],
                ["--search-epochs", "2"],
                ["--validation", "20"],
                ["--batch", "16"],
            ];
            command.args(flags.iter().filter(given).flatten());
            if !args.contains(&"--config") {
                // Rates at which nothing diverges, whatever the instruction set.
                command.arg("--config").arg(self.path("tame.toml"));
            }
        }
        command
    }

    fn run(&self, out: &str, args: &[&str]) -> Output {
        self.command(out, args).output().unwrap()
    }

    #[track_caller]
    fn succeed(&self, out: &str, args: &[&str]) -> Output {
        let output = self.run(out, args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// As [`Bench::succeed`], but runs may have diverged.
    #[track_caller]
    fn succeed_or_diverge(&self, out: &str, args: &[&str]) {
        let output = self.run(out, args);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn read(&self, out: &str, name: &str) -> String {
        let path = self.path(out).join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The results, without times and without the name of the folder.
    fn results(&self, out: &str) -> Value {
        let mut results: Value = serde_json::from_str(&self.read(out, "results.json")).unwrap();
        for list in ["runs", "networks"] {
            for item in results[list].as_array_mut().unwrap() {
                assert!(item["seconds"].as_f64().is_some());
                item["seconds"] = Value::Null;
            }
        }
        for free in ["out", "threads", "data"] {
            results["config"][free] = Value::Null;
        }
        results
    }

    /// Panics unless two experiments came to the same but for times.
    #[track_caller]
    fn assert_same(&self, a: &str, b: &str) {
        assert_eq!(without_time(&self.read(a, "table.md")), without_time(&self.read(b, "table.md")));
        assert!(self.results(a) == self.results(b));
        for name in ["results.csv", "curves.svg", "rates.svg"] {
            assert!(self.read(a, name) == self.read(b, name), "{name}");
        }
    }

    /// When each file of a finished run was written.
    fn runs(&self, out: &str) -> BTreeMap<PathBuf, SystemTime> {
        let Ok(entries) = fs::read_dir(self.path(out).join("runs")) else {
            return BTreeMap::new();
        };
        let entries = entries.map(|entry| entry.unwrap().path());
        let finished = entries.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
        finished.map(|path| (path.clone(), path.metadata().unwrap().modified().unwrap())).collect()
    }
}

/// The table without its last column.
fn without_time(table: &str) -> Vec<String> {
    let columns = |line: &str| line.trim_end_matches('|').rsplit_once('|').unwrap().0.to_owned();
    table.lines().map(columns).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn it_searches_repeats_and_reports() {
    let bench = Bench::new();
    let output = bench.succeed("deep/out", &["--checkpoints"]);
    let table = bench.read("deep/out", "table.md");
    assert!(String::from_utf8(output.stdout).unwrap().contains(&table));
    assert_eq!(table.lines().count(), 2 + 3, "{table}");
    assert!(table.lines().next().unwrap().ends_with("time per run |") && table.contains(" ± "), "{table}");
    let out = bench.path("deep/out");
    let expected = [
        "config.toml",
        "curves.svg",
        "lock",
        "networks",
        "rates.svg",
        "results.csv",
        "results.json",
        "runs",
        "table.md",
    ];
    assert_eq!(names(&out), expected);
    assert_eq!(names(&out.join("networks")).len(), 3 * 2);
    assert_eq!(names(&out.join("runs")).len(), 3 * (3 + 2));
    let saved = out.join("networks/dann-final-01.safetensors");
    let isa = interneuron::Isa::select().unwrap();
    let (network, run) = interneuron::checkpoint::load::<f32>(&saved, &isa.into()).unwrap();
    assert_eq!((network.steps(), run.seed), (6 * 5, 2));

    let results = bench.results("deep/out");
    let of_network = |name: &str| -> Vec<Value> {
        let runs = results["runs"].as_array().unwrap().iter();
        runs.filter(|run| run["settings"]["network"] == name).cloned().collect()
    };
    for summary in results["networks"].as_array().unwrap() {
        let runs = of_network(summary["network"].as_str().unwrap());
        let (trials, finals) = runs.split_at(3);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let last_errors = |run: &Value| {
            let errors = run["epochs"].as_array().unwrap().iter().map(|epoch| epoch["error"].as_f64().unwrap());
            let errors: Vec<f64> = errors.collect();
            mean(&errors[errors.len().saturating_sub(5)..])
        };
        let rate = |run: &Value| run["settings"]["rate"].as_f64().unwrap();
        let by_error = |a: &&Value, b: &&Value| last_errors(a).total_cmp(&last_errors(b));
        // The smaller rate of equals.
        let best = trials.iter().min_by(|a, b| by_error(a, b).then(rate(a).total_cmp(&rate(b)))).unwrap();
        assert_eq!(summary["rate"], best["settings"]["rate"]);
        for run in trials {
            assert_eq!((&run["settings"]["phase"], run["epochs"].as_array().unwrap().len()), (&"search".into(), 2));
        }
        for run in finals {
            assert_eq!((&run["settings"]["phase"], run["epochs"].as_array().unwrap().len()), (&"final".into(), 6));
            assert_eq!(run["settings"]["rate"], summary["rate"]);
        }
        let errors: Vec<f64> = finals.iter().map(last_errors).collect();
        assert!((summary["test_error"].as_f64().unwrap() - mean(&errors)).abs() < 1e-9);
        // Of two values, the standard error of the mean is half their distance.
        let half = (errors[0] - errors[1]).abs() / 2.0;
        assert!((summary["standard_error"].as_f64().unwrap() - half).abs() < 1e-9);
    }
    let csv = bench.read("deep/out", "results.csv");
    assert_eq!(csv.lines().count(), 1 + 3 * (3 * 2 + 2 * 6));
    for picture in ["curves.svg", "rates.svg"] {
        let picture = bench.read("deep/out", picture);
        assert!(picture.starts_with("<svg") && picture.contains("polyline") && picture.contains("dann-nc"));
    }
}

#[test]
fn results_depend_on_the_seed_and_not_on_threads_or_other_networks() {
    let bench = Bench::new();
    bench.succeed("one", &["--threads", "1"]);
    bench.succeed("three", &["--threads", "3"]);
    bench.assert_same("one", "three");
    bench.succeed("other", &["--seed", "2"]);
    assert_ne!(bench.read("one", "results.csv"), bench.read("other", "results.csv"));
    bench.succeed("single", &["--networks", "dann-nc"]);
    let of = |out| bench.read(out, "results.csv").lines().filter(|line| line.starts_with("dann-nc,")).count();
    let all = bench.read("one", "results.csv");
    assert!(of("single") > 0 && bench.read("single", "results.csv").lines().all(|line| all.contains(line)));
}

#[test]
fn every_network_is_trained_and_its_layers_recorded() {
    let bench = Bench::new();
    let all = "mlp,layer-norm,batch-norm,column-ei,dann,dann-nc,dann-one,dann-iid,dann-sub,dann-ngd";
    let config = bench.file("rates.toml", "[rates.dann-iid]\nknown = 1e-4\n[rates.dann-ngd]\nknown = 1.0\n");
    let args = ["--config", &config, "--networks", all, "--trials", "0", "--epochs", "2", "--natural-batch", "50"];
    bench.succeed("plain", &args);
    bench.succeed("recorded", &[&args[..], &["--record"]].concat());
    assert_eq!(bench.read("plain", "results.csv"), bench.read("recorded", "results.csv"), "to look changes nothing");
    let results = bench.results("recorded");
    let networks: Vec<_> = results["networks"].as_array().unwrap().iter().map(|summary| &summary["network"]).collect();
    assert_eq!(networks, all.split(',').collect::<Vec<_>>());
    for epoch in results["runs"].as_array().unwrap().iter().flat_map(|run| run["epochs"].as_array().unwrap()) {
        let layers = epoch["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 3);
        for layer in layers {
            assert!((0.0..=1.0).contains(&layer["zero_weights"].as_f64().unwrap()));
            assert!(layer["gradient_norms"]["b"].as_f64().unwrap() > 0.0);
        }
        assert!((0.0..=1.0).contains(&layers[0]["silent"].as_f64().unwrap()));
    }
    let dann = |key: &str| bench.runs("recorded").keys().any(|path| fs::read_to_string(path).unwrap().contains(key));
    assert!(dann("\"zhat\": [") && dann("\"gamma\": [") && dann("\"cosine\": 0."));
    assert!(!bench.read("plain", "results.json").contains("layers"));
    bench.succeed("recorded", &["--resume"]);
}

#[test]
fn optimisers_schedules_schemes_and_inputs_are_part_of_the_settings() {
    let bench = Bench::new();
    let networks = "mlp,layer-norm,batch-norm,column-ei,dann,dann-one,dann-iid,dann-sub,dann-ngd";
    let config = bench.file("rates.toml", "[rates.dann-ngd]\nknown = 1.0\n");
    let short = ["--config", &config, "--networks", networks, "--trials", "0", "--epochs", "2", "--seeds", "1"];
    let short = [&short[..], &["--natural-batch", "50"]].concat();
    let cases: [&[&str]; 7] = [
        &["--standardise", "all", "--remedy", "shift"],
        &["--standardise", "each", "--remedy", "subtractive", "--optimiser", "adamw"],
        &["--standardise", "all", "--remedy", "root", "--schedule", "cosine"],
        &["--optimiser", "adamw", "--weight-decay", "0.01", "--schedule", "cosine", "--warmup", "0.5"],
        &["--optimiser", "eg", "--momentum", "0.5", "--clip", "1", "--scheme", "centred"],
        &["--optimiser", "adamw-eg", "--schedule", "linear", "--scheme", "lognormal"],
        &["--momentum", "0.9", "--schedule", "step", "--step-every", "1", "--scheme", "independent"],
    ];
    let mut seen = vec![];
    for (index, case) in cases.into_iter().enumerate() {
        let out = index.to_string();
        bench.succeed_or_diverge(&out, &[&short[..], case].concat());
        let results = bench.results(&out);
        let common = results["runs"][0]["settings"]["common"].clone();
        assert_eq!(common["training"]["optimiser"], results["config"]["optimiser"]);
        assert!(!seen.contains(&common), "{case:?}");
        seen.push(common);
        let csv = bench.read(&out, "results.csv");
        bench.succeed_or_diverge(&out, &["--resume"]);
        assert_eq!(csv, bench.read(&out, "results.csv"));
    }
}

/// The defaults of the rates depend on the optimiser; those that a file has do not.
#[test]
fn rates_follow_the_optimiser() {
    let bench = Bench::new();
    let file = bench.file("rates.toml", "optimiser = \"adamw\"\n[rates.dann]\nknown = 0.5\n");
    let output = example("paper").args(["--config", &file, "--print-config"]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    for (network, rates) in [
        ("mlp", "low = 0.0001\nhigh = 0.03\nknown = 0.001"),
        ("dann", "low = 0.0001\nhigh = 0.03\nknown = 0.5"),
        ("dann-ngd", "low = 10.0\nhigh = 1000.0\nknown = 300.0"),
    ] {
        assert!(printed.contains(&format!("[rates.{network}]\n{rates}\n")), "{printed}");
    }
}

/// An experiment that was begun before there were optimisers, schedules and schemes to choose goes on, and repeats
/// nothing.
#[test]
fn experiments_of_older_versions_go_on() {
    let bench = Bench::new();
    bench.succeed("out", &["--trials", "1", "--networks", "dann", "--seeds", "1"]);
    let newer = ["optimiser", "momentum", "weight_decay", "clip", "schedule", "warmup", "step_every", "step_factor"];
    let of = |line: &str| {
        [&newer[..], &["scheme", "standardise", "remedy"]]
            .concat()
            .iter()
            .any(|name| line.starts_with(&format!("{name} = ")))
    };
    let config = bench.read("out", "config.toml");
    let old: Vec<&str> = config.lines().filter(|line| !of(line)).collect();
    assert_eq!(old.len() + 11, config.lines().count());
    fs::write(bench.path("out/config.toml"), old.join("\n")).unwrap();
    for path in bench.runs("out").keys() {
        let mut record: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let common = record["settings"]["common"].as_object_mut().unwrap();
        for name in ["training", "scheme", "inputs"] {
            assert!(common.remove(name).is_some());
        }
        fs::write(path, record.to_string()).unwrap();
    }
    let before = bench.runs("out");
    let refused = bench.run("out", &["--resume", "--optimiser", "adamw"]);
    assert_refused(&refused, "optimiser is \"adamw\": expected \"sgd\"");
    bench.succeed("out", &["--resume"]);
    assert_eq!(bench.runs("out"), before);
}

#[test]
fn the_printed_configuration_is_used_as_it_is() {
    let bench = Bench::new();
    let print = |args: &[&str]| {
        let output = example("paper").args(args).arg("--print-config").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let small = print(&["--hidden", "9,8", "--record=false", "--natural-c", "1"]);
    assert!(small.contains("hidden = [9, 8]") && small.contains("drawn_train = 8000"), "{small}");
    assert_eq!(print(&["--config", &bench.file("small.toml", &small)]), small);
    let paper = print(&["--data", "somewhere"]);
    assert!(paper.contains("epochs = 50\n") && paper.contains("validation = 10000\n"), "{paper}");
    assert_eq!(print(&["--data", "somewhere", "--preset", "paper"]), paper);
    assert!(print(&["--preset", "paper"]).contains("epochs = 50\n"));
    let file = bench.file("file.toml", "epochs = 7\nbatch = 8\n[rates.dann]\nlow = 0.5\n");
    let mixed = print(&["--config", &file, "--batch", "9"]);
    assert!(mixed.contains("\nepochs = 7\n") && mixed.contains("\nbatch = 9\n") && mixed.contains("low = 0.5\n"));
    // Every field has a comment.
    for (line, before) in mixed.lines().skip(1).zip(mixed.lines()) {
        let commented = !line.contains(" = ") || before.starts_with("# ") || mixed.contains(&format!("]\n{line}"));
        assert!(commented || line.starts_with("high") || line.starts_with("known"), "{line}");
    }
}

#[test]
fn bad_input_gets_one_line_and_exit_code_2() {
    let bench = Bench::new();
    let file = bench.file("file", "");
    let below_file = format!("{file}/out");
    let flags: &[(&[&str], &str)] = &[
        (&["--networks", "mlp,perceptron"], "--networks is mlp,perceptron: expected different names out of mlp"),
        (&["--networks", "mlp,mlp"], "--networks is mlp,mlp: expected different names"),
        (&["--hidden", "10,0"], "--hidden is 10,0: expected whole numbers"),
        (&["--hidden", ""], "--hidden"),
        (
            &["--hidden", "1000000000000"],
            "--hidden is 1000000000000: expected whole numbers, 1 to 100 of them, each from",
        ),
        (&["--hidden", "1000000,1000000"], "network mlp: "),
        (&["--interneurons", "0"], "--interneurons is 0: expected a whole number from 1 to 1000000"),
        (&["--column-ratio", "0"], "--column-ratio"),
        (&["--batch", "many"], "--batch is many: expected a whole number"),
        (&["--batch", "61"], "batch is 61: expected at most 60"),
        (&["--batch", "9223372036854775807"], "--batch is 9223372036854775807: expected a whole number from 1 to"),
        (&["--validation", "9223372036854775807"], "--validation"),
        (&["--interneurons", "9223372036854775807"], "--interneurons"),
        (&["--epochs", "0"], "--epochs is 0: expected a whole number from 1 to"),
        (&["--seeds", "0"], "--seeds"),
        (&["--seed", "-1"], "--seed is -1: expected a whole number, at least 0"),
        (&["--trials", "1000000000"], "--trials"),
        (&["--search-epochs", "0"], "--search-epochs"),
        (&["--validation", "80"], "validation is 80: expected less than 80"),
        (&["--natural-batch", "0"], "--natural-batch"),
        (&["--networks", "dann-ngd", "--natural-batch", "61"], "natural_batch is 61: expected at most 60"),
        (&["--natural-f-lambda", "NaN"], "--natural-f-lambda is NaN: expected a finite number above 0"),
        (&["--natural-c", "1.5"], "--natural-c is 1.5: expected a number above 0, at most 1"),
        (&["--optimiser", "adam"], "--optimiser is adam: expected sgd, adamw, eg or adamw-eg"),
        (&["--schedule", "slow"], "--schedule is slow: expected constant, step, linear or cosine"),
        (&["--scheme", "iid"], "--scheme is iid: expected matched, independent, centred or lognormal"),
        (&["--momentum", "1"], "--momentum is 1: expected a number from 0 to 0.9999"),
        (&["--weight-decay", "NaN"], "--weight-decay is NaN: expected a number from 0 to 1"),
        (&["--clip", "-1"], "--clip is -1: expected 0, or a number from 1e-9 to 1e9"),
        (&["--step-every", "0"], "--step-every is 0: expected a whole number from 1 to"),
        (&["--step-factor", "2"], "--step-factor is 2: expected a number from 0 to 1"),
        (&["--warmup", "3", "--epochs", "2", "--trials", "0"], "warmup is 3: expected at most 2, the epochs"),
        (&["--optimiser", "adamw", "--momentum", "0.5"], "momentum is 0.5: expected 0 with adamw, which has moments"),
        (&["--record=perhaps"], "--record is perhaps: expected true or false"),
        (&["--checkpoints=2"], "--checkpoints"),
        (&["--threads", "-1"], "--threads"),
        (&["--drawn-train", "0"], "--drawn-train"),
        (&["--drawn-test", "0"], "--drawn-test"),
        (&["--isa", "mmx"], "isa: unknown instruction set \"mmx\""),
        (&["--data", "/no/such/folder"], "/no/such/folder: no such folder"),
        (&["--preset", "large"], "--preset"),
        (&["--config", "/no/such/file"], "/no/such/file: "),
        (&["--no-such-option"], "--no-such-option"),
        (&["--out", &file], "out: "),
        (&["--out", &below_file], "out: "),
    ];
    for (args, expected) in flags {
        // A flag may be given once, so that these replace those of the small experiment.
        let mut command = example("paper");
        let given = |flag: &&[&str; 2]| !args.contains(&flag[0]);
        let (data, out) = (bench.dir.path().to_str().unwrap(), bench.path("untouched"));
        let own = [["--data", data], ["--out", out.to_str().unwrap()]];
        let small = [["--networks", "mlp,dann"], ["--validation", "20"], ["--hidden", "9"]];
        let own = [&own[..], &small].concat();
        assert_refused(&command.args(own.iter().filter(given).flatten()).args(*args).output().unwrap(), expected);
        assert!(!out.exists(), "{args:?} must write nothing");
    }
    let files = [
        ("batch = 16\nhiden = [3]", "bad.toml: unknown field hiden: expected one of data, "),
        ("batch = 16\nepochs = = 3", "bad.toml, line 2: "),
        ("hidden = 12", "hidden is 12: expected whole numbers"),
        ("hidden = []", "hidden is []: expected whole numbers"),
        ("networks = [\"mlp\", 3]", "networks is [\"mlp\", 3]: expected"),
        ("data = 3", "data is 3: expected text"),
        ("epochs = 2.5", "epochs is 2.5: expected a whole number"),
        ("epochs = \"2\"", "epochs is \"2\": expected a whole number"),
        ("record = 1", "record is 1: expected true or false"),
        ("natural_f_lambda = inf", "natural_f_lambda is inf: expected a finite number above 0"),
        ("rates = 3", "rates is 3: expected tables"),
        ("[rates]\nmlp = 3", "rates.mlp is 3: expected a table"),
        ("[rates.perceptron]\nlow = 1", "unknown field rates.perceptron: expected one of mlp, "),
        ("[rates.mlp]\nlowest = 1", "unknown field rates.mlp.lowest: expected low, high or known"),
        ("[rates.mlp]\nlow = -1", "rates.mlp.low is -1: expected a finite number above 0"),
        ("[rates.mlp]\nlow = 0.5\nhigh = 0.1", "rates.mlp.low is 0.5: expected at most high, 0.1"),
    ];
    for (text, expected) in files {
        let file = bench.file("bad.toml", text);
        let out = bench.path("untouched");
        let args = ["--config", &file, "--out", out.to_str().unwrap()];
        assert_refused(&example("paper").args(args).output().unwrap(), expected);
        assert!(!out.exists(), "{text} must write nothing");
    }
}

#[test]
fn what_is_finished_is_kept_and_what_is_broken_is_done_again() {
    let bench = Bench::new();
    bench.succeed("whole", &[]);
    bench.succeed("out", &[]);
    let before = bench.runs("out");
    assert_eq!(before.len(), 15);

    fs::remove_file(bench.path("out/table.md")).unwrap();
    let output = bench.succeed("out", &["--resume"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("15 of 15 runs are there already"));
    assert_eq!(bench.runs("out"), before, "nothing is repeated");
    bench.assert_same("whole", "out");

    // One run is missing, one half written, one of other settings, and one was being written.
    let run = |name: &str| bench.path("out/runs").join(name);
    fs::remove_file(run("mlp-search-01.json")).unwrap();
    let text = fs::read(run("dann-final-00.json")).unwrap();
    fs::write(run("dann-final-00.json"), &text[..text.len() / 2]).unwrap();
    let text = fs::read_to_string(run("dann-nc-final-01.json")).unwrap();
    fs::write(run("dann-nc-final-01.json"), text.replacen("\"seed\": 2", "\"seed\": 3", 1)).unwrap();
    fs::write(run(".dann-search-00.json.12.unfinished"), "{").unwrap();
    // One is so long that it would not fit in memory; it has no bytes on the disk.
    File::create(run("mlp-search-02.json")).unwrap().set_len(1 << 42).unwrap();
    let again = ["mlp-search-01.json", "mlp-search-02.json", "dann-final-00.json", "dann-nc-final-01.json"].map(run);
    bench.succeed("out", &["--resume", "--threads", "1"]);
    let after = bench.runs("out");
    assert_eq!(after.len(), 15);
    for (path, time) in &after {
        assert_eq!(before[path] == *time, !again.contains(path), "{}", path.display());
    }
    assert!(!run(".dann-search-00.json.12.unfinished").exists());
    bench.assert_same("whole", "out");
}

#[test]
fn a_folder_belongs_to_one_experiment_and_one_process() {
    let bench = Bench::new();
    bench.succeed("out", &[]);
    let before = (bench.runs("out"), bench.read("out", "config.toml"));
    assert_refused(&bench.run("out", &[]), "there are runs already: go on with --resume");
    assert_refused(
        &bench.run("out", &["--resume", "--seeds", "1"]),
        "--resume: seeds is 1: expected at least 2, as in ",
    );
    assert_refused(
        &bench.run("out", &["--resume", "--trials", "2"]),
        "--resume: trials is 2: expected at least 3, as in ",
    );
    assert_refused(&bench.run("out", &["--resume", "--epochs", "7"]), "--resume: epochs is 7: expected 6, as in ");
    let fewer = bench.run("out", &["--resume", "--networks", "mlp,dann"]);
    assert_refused(&fewer, "--resume: networks is [\"mlp\", \"dann\"]: expected dann-nc among them, as in ");
    let other = bench.file("other.toml", &before.1.replacen("known = 0.1107", "known = 0.25", 1));
    let output = bench.run("out", &["--resume", "--config", &other]);
    assert_refused(&output, "--resume: rates.dann.known is 0.25: expected 0.1107, as in ");
    let broken = bench.path("out/config.toml");
    fs::write(&broken, &before.1[..20]).unwrap();
    assert_refused(&bench.run("out", &["--resume"]), "config.toml: data is missing: expected all fields");
    fs::write(&broken, &before.1).unwrap();

    let lock = File::options().write(true).open(bench.path("out/lock")).unwrap();
    lock.lock().unwrap();
    assert_refused(&bench.run("out", &["--resume"]), "another process runs an experiment there");
    drop(lock);
    assert_eq!((bench.runs("out"), bench.read("out", "config.toml")), before);
    bench.succeed("out", &["--resume"]);
}

/// More seeds, trials and networks are done, and what was done is left as it is.
#[test]
fn more_of_the_same_repeats_nothing() {
    let bench = Bench::new();
    let few = ["--networks", "mlp,dann", "--seeds", "1", "--trials", "3"];
    bench.succeed("out", &few);
    let before = bench.runs("out");
    bench.succeed("out", &["--resume", "--seeds", "2", "--networks", "mlp,dann,dann-nc", "--threads", "1"]);
    let after = bench.runs("out");
    assert_eq!((before.len(), after.len()), (2 * 4, 3 * 5));
    assert!(before.iter().all(|(path, time)| after[path] == *time), "nothing is repeated");
    bench.succeed("whole", &["--seeds", "2", "--trials", "3"]);
    bench.assert_same("whole", "out");
    // More trials: the final runs are done again only where another rate is better.
    let output = bench.succeed("out", &["--resume", "--trials", "5"]);
    let grown = bench.runs("out");
    for (path, time) in &after {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).contains(&format!("{name}: again, at learning rate"));
        assert_eq!(grown[path] != *time, told, "{name}");
        assert!(!told || name.contains("final"), "{name}");
    }
    bench.succeed("more", &["--seeds", "2", "--trials", "5"]);
    bench.assert_same("more", "out");
}

/// What the data are decides, and not where they lie or how they are compressed.
#[test]
fn an_experiment_goes_on_wherever_its_data_are() {
    let bench = Bench::new();
    bench.succeed("out", &[]);
    let before = bench.runs("out");
    let moved = bench.path("moved");
    fs::create_dir(&moved).unwrap();
    let files = ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"];
    for file in files {
        let bytes = fs::read(bench.path(&format!("{file}-ubyte"))).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &bytes).unwrap();
        fs::write(moved.join(format!("{file}-ubyte.gz")), encoder.finish().unwrap()).unwrap();
    }
    let moved = moved.to_str().unwrap();
    bench.succeed("out", &["--resume", "--data", moved]);
    // From now on it knows the other folder, from wherever it is started.
    for file in files {
        fs::remove_file(bench.path(&format!("{file}-ubyte"))).unwrap();
    }
    let elsewhere = bench.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let output = example("paper").args(["--resume", "--out", "../out"]).current_dir(&elsewhere).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(bench.runs("out"), before, "nothing is repeated");

    // Relative to the folder that it was begun in.
    let data = ["--data", "moved", "--out", "relative", "--preset", "small", "--networks", "mlp", "--trials", "0"];
    let small = ["--validation", "20", "--epochs", "1", "--seeds", "1", "--hidden", "5", "--interneurons", "1"];
    let output = example("paper").args(data).args(small).current_dir(bench.dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = example("paper").args(["--resume", "--out", "../relative"]).current_dir(&elsewhere).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("1 of 1 runs are there already"));

    // Without the data nothing is known, and it says what to do.
    fs::rename(moved, bench.path("lost")).unwrap();
    assert_refused(&bench.run("out", &["--resume"]), "--data names where they are now");
    assert_eq!(bench.runs("out"), before);
}

#[test]
fn data_that_changed_are_refused_by_name() {
    let bench = Bench::new();
    bench.succeed("out", &[]);
    let before = (bench.runs("out"), bench.read("out", "config.toml"));
    let cases = [
        ("train-images-idx3-ubyte", "the training images ("),
        ("train-labels-idx1-ubyte", "the training labels ("),
        ("t10k-images-idx3-ubyte", "the test images ("),
        ("t10k-labels-idx1-ubyte", "the test labels ("),
    ];
    for (file, name) in cases {
        let whole = fs::read(bench.path(file)).unwrap();
        let mut changed = whole.clone();
        let last = changed.last_mut().unwrap();
        *last = if *last == 3 { 4 } else { 3 };
        fs::write(bench.path(file), &changed).unwrap();
        let output = bench.run("out", &["--resume"]);
        assert_refused(&output, name);
        assert_refused(&output, file);
        assert_refused(&output, "are not those that the experiment was begun with");
        fs::write(bench.path(file), &whole).unwrap();
    }
    assert_eq!((bench.runs("out"), bench.read("out", "config.toml")), before);
    bench.succeed("out", &["--resume"]);
}

/// Records of another version, or of settings that somebody edited, are done again, but not lost.
#[test]
fn records_of_other_settings_are_set_aside() {
    let bench = Bench::new();
    bench.succeed("out", &["--networks", "mlp"]);
    let record = bench.path("out/runs/mlp-search-01.json");
    let text = fs::read_to_string(&record).unwrap();
    let other = text.replacen("\"version\": \"", "\"version\": \"9.", 1);
    fs::write(&record, &other).unwrap();
    let output = bench.succeed("out", &["--resume"]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("mlp-search-01: again: the record that is there is of other settings"), "{stderr}");
    assert_eq!(fs::read_to_string(record.with_extension("json.before")).unwrap(), other);
}

/// One of several sets of a folder, by the beginning of its names.
#[test]
fn an_experiment_goes_on_with_one_of_several_sets() {
    let bench = Bench::new();
    let sets = bench.path("sets");
    fs::create_dir(&sets).unwrap();
    for file in ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"] {
        for set in ["letters", "digits"] {
            let (from, to) = (bench.path(&format!("{file}-ubyte")), sets.join(format!("emnist-{set}-{file}-ubyte")));
            fs::copy(from, to).unwrap();
        }
    }
    let data = sets.join("emnist-letters");
    let small = ["--preset", "small", "--networks", "mlp", "--trials", "0", "--validation", "20", "--epochs", "1"];
    let begin =
        example("paper").args(small).arg("--data").arg(data).arg("--out").arg(bench.path("out")).output().unwrap();
    assert!(begin.status.success(), "{}", String::from_utf8_lossy(&begin.stderr));
    bench.succeed("out", &["--resume"]);
}

/// What was finished on another machine can be looked at on one that lacks its instruction set.
#[test]
fn a_finished_experiment_needs_no_instruction_set() {
    let bench = Bench::new();
    let Some(lacking) = interneuron::Isa::NAMES.iter().copied().find(|name| name.parse::<interneuron::Isa>().is_err())
    else {
        return eprintln!("SKIPPED: this CPU has all instruction sets");
    };
    bench.succeed("out", &["--isa", "portable"]);
    let isa = |text: String| text.replace("\"portable\"", &format!("\"{lacking}\""));
    fs::write(bench.path("out/config.toml"), isa(bench.read("out", "config.toml"))).unwrap();
    for run in bench.runs("out").keys() {
        fs::write(run, isa(fs::read_to_string(run).unwrap())).unwrap();
    }
    let table = without_time(&bench.read("out", "table.md"));
    bench.succeed("out", &["--resume"]);
    assert_eq!(without_time(&bench.read("out", "table.md")), table);
    fs::remove_file(bench.path("out/runs/mlp-final-01.json")).unwrap();
    assert_refused(&bench.run("out", &["--resume"]), &format!("isa: this CPU has no {lacking}"));
    assert_refused(&bench.run("new", &["--isa", lacking]), &format!("isa: this CPU has no {lacking}"));
}

/// Batch normalisation of one example is nothing but its bias.
#[test]
fn batch_normalisation_never_gets_one_image() {
    let bench = Bench::new();
    let all = ["--networks", "mlp,batch-norm", "--trials", "0", "--epochs", "1", "--seeds", "1"];
    let run = |out, args: &[&str]| bench.run(out, &[&all[..], args].concat());
    // 80 images.
    assert_refused(&run("one", &["--batch", "1"]), "batch is 1: of 80 images a step would have only one");
    let short = run("short", &["--batch", "79", "--last-batch", "short"]);
    assert_refused(&short, "batch is 79: of 80 images a step would have only one, and batch normalisation needs two");
    assert!(run("spread", &["--batch", "79"]).status.success());
    assert!(
        bench.run("plain", &["--networks", "mlp", "--trials", "0", "--batch", "1", "--epochs", "1"]).status.success()
    );
}

/// Labels from 1 to 26, as EMNIST's letters have them.
#[test]
fn the_output_layer_follows_the_labels() {
    let bench = Bench::new();
    for (name, count) in [("train", 80_u32), ("t10k", 30)] {
        let labels = (0..count).map(|i| (1 + i % 26) as u8);
        let header = [0x0801, count].into_iter().flat_map(u32::to_be_bytes);
        fs::write(bench.path(&format!("{name}-labels-idx1-ubyte")), header.chain(labels).collect::<Vec<u8>>()).unwrap();
    }
    let output = bench.succeed("out", &["--checkpoints", "--trials", "0", "--epochs", "1"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("26 classes (labels 1 to 26)"));
    let saved = bench.path("out/networks/mlp-final-00.safetensors");
    let (network, _) = interneuron::checkpoint::load::<f32>(saved, &interneuron::Isa::best().into()).unwrap();
    assert_eq!(network.outputs(), 27, "label k is output unit k");
}

#[test]
fn a_diverged_run_is_worst_and_is_told() {
    let bench = Bench::new();
    let config = bench.file("search.toml", "[rates.mlp]\nlow = 0.0001\nhigh = 1e30\n[rates.dann]\nknown = 1e30\n");
    let output = bench.run("search", &["--config", &config, "--networks", "mlp", "--trials", "12"]);
    assert_ne!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("stopped: "));
    let results = bench.results("search");
    let (trials, rate) = (&results["runs"].as_array().unwrap()[..12], &results["networks"][0]["rate"]);
    let diverged: Vec<_> = trials.iter().filter(|run| run["diverged"].is_string()).collect();
    assert!((1..12).contains(&diverged.len()));
    assert!(diverged.iter().all(|run| run["settings"]["rate"] != *rate), "the best of those that did not");

    let args = ["--config", &config, "--networks", "mlp,dann", "--trials", "0", "--checkpoints"];
    let output = bench.run("final", &args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let rate = format!(" at learning rate {}", 1e30);
    assert!(stderr.contains("stopped: ") && stderr.contains(" step ") && stderr.contains(&rate), "{stderr}");
    let saved = names(&bench.path("final/networks"));
    assert_eq!(saved, ["mlp-final-00.safetensors", "mlp-final-01.safetensors"], "nothing of what diverged");
    let table = bench.read("final", "table.md");
    assert!(table.contains(" diverged |") && table.contains("1.000e30") && table.contains("0.2976"), "{table}");
    assert!(!bench.path("final/rates.svg").exists(), "there was no search");
}

#[test]
fn killed_at_any_moment_it_comes_to_the_same() {
    let bench = Bench::new();
    let optimised = !cfg!(debug_assertions);
    if !optimised {
        eprintln!("SHRUNK: without optimisation, a shorter experiment is killed fewer times");
    }
    let (kills, epochs, trials, seeds) = if optimised { (10, "70", "40", "8") } else { (3, "2", "6", "4") };
    let args = ["--networks", "mlp,dann,dann-one", "--trials", trials, "--seeds", seeds, "--threads", "2"];
    let args = [&args[..], &["--search-epochs", epochs, "--epochs", epochs]].concat();
    let start = Instant::now();
    bench.succeed("whole", &args);
    let time = start.elapsed();

    // On a machine that stays as fast, all times together are shorter than the experiment.
    let mut rng = generator(11);
    let (mut landed, mut kept) = (0, BTreeMap::new());
    while landed < kills || kept.is_empty() {
        assert!(landed < 4 * kills, "no run is ever finished between kills");
        let begun = bench.path("killed/config.toml").exists();
        let mut command = bench.command("killed", if begun { &["--resume"] } else { &args });
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(time.mul_f64(rng.random_range(0.1..0.95) / f64::from(kills)));
        if child.try_wait().unwrap().is_some() {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        landed += 1;
        let runs = bench.runs("killed");
        assert!(kept.iter().all(|(path, time)| runs.get(path) == Some(time)), "what was finished is left as it is");
        kept = runs;
    }
    assert!(2 * landed >= kills, "the experiment ended after {landed} kills");
    let all = bench.runs("whole").len();
    bench.succeed("killed", &["--resume"]);
    bench.assert_same("whole", "killed");
    let left = names(&bench.path("killed/runs"));
    assert!(left.iter().all(|name| !name.starts_with('.')), "{left:?}");
    eprintln!("{landed} kills in an experiment of {time:?}; {} of {all} runs were finished between them", kept.len());
}
