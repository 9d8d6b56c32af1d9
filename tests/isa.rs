//! Instruction sets: listed, named, forced, refused.

mod common;

use common::{isas, variable};
use interneuron::{Error, Isa};

#[test]
fn the_first_is_portable_and_the_last_is_the_best() {
    let available: Vec<Isa> = Isa::available().collect();
    assert_eq!(available[0].name(), "portable");
    assert_eq!(*available.last().unwrap(), Isa::best());
    for isa in available {
        assert_eq!(isa.name().parse::<Isa>().unwrap(), isa);
        assert_eq!(isa.to_string(), isa.name());
    }
}

#[test]
fn a_forced_set_is_the_one_that_is_used() {
    match variable(Isa::ENV) {
        Some(name) => {
            assert_eq!(Isa::select().unwrap().name(), name);
            assert_eq!(isas().len(), 1);
        }
        None => assert_eq!(Isa::select().unwrap(), Isa::best()),
    }
}

/// The test above once more, in processes where the variable is set and empty, and where it names a set.
#[test]
fn an_empty_variable_is_not_set() {
    for value in ["", "portable"] {
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "a_forced_set_is_the_one_that_is_used"]).env(Isa::ENV, value);
        let output = again.output().unwrap();
        assert!(output.status.success(), "{value:?}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn unknown_and_missing_sets_are_refused_with_a_clear_message() {
    let error = "sse9".parse::<Isa>().unwrap_err();
    assert_eq!(error, Error::UnknownIsa { name: "sse9".into(), names: Isa::NAMES.to_vec() });
    let names = Isa::NAMES.join(", ");
    assert!(names.starts_with("portable, "));
    assert_eq!(error.to_string(), format!("unknown instruction set \"sse9\": expected one of {names}"));
    for &name in Isa::NAMES {
        match name.parse::<Isa>() {
            Ok(isa) => assert!(Isa::available().any(|available| available == isa)),
            Err(error) => {
                let available = Isa::available().map(Isa::name).collect();
                assert_eq!(error, Error::UnsupportedIsa { name: name.into(), available });
                assert!(error.to_string().starts_with(&format!("this CPU has no {name}: it has portable")));
            }
        }
    }
}
