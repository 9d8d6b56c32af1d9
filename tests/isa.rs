//! Instruction sets: listed, named, forced, refused.

mod common;

use common::isas;
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
    match std::env::var(Isa::ENV) {
        Ok(name) => {
            assert_eq!(Isa::select().unwrap().name(), name);
            assert_eq!(isas().len(), 1);
        }
        Err(_) => assert_eq!(Isa::select().unwrap(), Isa::best()),
    }
}

#[test]
fn unknown_and_missing_sets_are_refused_with_a_clear_message() {
    let error = "sse9".parse::<Isa>().unwrap_err();
    assert_eq!(error, Error::UnknownIsa { name: "sse9".into(), names: Isa::NAMES.to_vec() });
    assert_eq!(error.to_string(), "unknown instruction set \"sse9\": expected one of portable, avx2, avx512");
    for name in Isa::NAMES {
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
