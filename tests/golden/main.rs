//! Golden vectors: every array of every case, on every instruction set and in both element types.
//!
//! The cases were computed in f64 with automatic differentiation by an independent implementation. They are in
//! `tests/golden`, or in the folder that `INTERNEURON_GOLDEN_DIR` names. What the name of a file begins with is its
//! family, and each family has a module here. Cases of other families, or of kinds that a family does not know, are
//! passed over.

mod case;
#[path = "../common/mod.rs"]
mod common;
mod guard;
mod init;
mod layer;
mod loss;
mod moments;
mod net;
mod opt;
mod rnn;

use case::Case;
use common::{isas, variable};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// The cases whose names begin with `name` and an underscore.
struct Family {
    name: &'static str,
    /// Compares all arrays of a case, or returns false if it does not know the kind. Panics where they differ.
    compare: fn(&Case) -> bool,
}

const FAMILIES: &[Family] = &[
    Family { name: "guard", compare: guard::compare },
    Family { name: "init", compare: init::compare },
    Family { name: "layer", compare: layer::compare },
    Family { name: "loss", compare: loss::compare },
    Family { name: "moments", compare: moments::compare },
    Family { name: "net", compare: net::compare },
    Family { name: "opt", compare: opt::compare },
    Family { name: "rnn", compare: rnn::compare },
];

impl Family {
    fn of(path: &Path) -> Option<&'static Self> {
        let name = path.file_stem()?.to_str()?;
        FAMILIES.iter().find(|family| name.split('_').next() == Some(family.name))
    }
}

fn own_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The `*.safetensors` files of a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "safetensors"));
    paths.sort();
    assert!(!paths.is_empty(), "{} holds no *.safetensors", folder.display());
    paths
}

/// The cases of a family in this repository.
fn own_cases(family: &str) -> Vec<Case> {
    let of_family = |path: &PathBuf| Family::of(path).is_some_and(|of| of.name == family);
    files(&own_folder()).iter().filter(|path| of_family(path)).map(|path| Case::read(path)).collect()
}

/// What became of a case.
enum Outcome {
    Compared,
    PassedOver,
    Wrong,
}

fn outcome(path: &Path) -> Outcome {
    let Some(family) = Family::of(path) else { return Outcome::PassedOver };
    // A case that is wrong is counted, and the others still have their turn.
    match catch_unwind(AssertUnwindSafe(|| (family.compare)(&Case::read(path)))) {
        Ok(true) => Outcome::Compared,
        Ok(false) => Outcome::PassedOver,
        Err(_) => Outcome::Wrong,
    }
}

/// Ends with a line that says how many cases were compared and agree, past the capture of the test harness.
#[test]
fn cases() {
    // Says which they are, before anything else is said.
    isas();
    let folder = variable("INTERNEURON_GOLDEN_DIR").map_or_else(own_folder, PathBuf::from);
    let files = files(&folder);
    let outcomes: Vec<_> = files.iter().map(|path| (path, outcome(path))).collect();
    let such = |of: fn(&Outcome) -> bool| {
        let such = outcomes.iter().filter(|(_, outcome)| of(outcome));
        such.map(|(path, _)| path.file_stem().unwrap().to_string_lossy()).collect::<Vec<_>>()
    };
    let compared = such(|outcome| matches!(outcome, Outcome::Compared)).len();
    let passed_over = such(|outcome| matches!(outcome, Outcome::PassedOver));
    let wrong = such(|outcome| matches!(outcome, Outcome::Wrong));
    let mut message = String::new();
    if !passed_over.is_empty() {
        message = format!("SKIPPED, of unknown kinds: {}\n", passed_over.join(", "));
    }
    // On a line of its own, also where the harness has begun one.
    let line = format!("compared {compared} of {} cases", files.len());
    let _ = writeln!(std::io::stdout(), "\n{message}{line}");
    assert!(wrong.is_empty(), "{} of {} are wrong: {}", wrong.len(), files.len(), wrong.join(", "));
    let known = files.iter().any(|path| Family::of(path).is_some());
    assert!(compared > 0 || !known, "nothing was compared, though {} holds families that are known", folder.display());
}
