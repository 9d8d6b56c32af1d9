//! Any bytes as a configuration of the example `paper`. One that is accepted can be printed and read again.
#![no_main]

#[allow(dead_code)] // what an experiment does with it
#[allow(dead_code)]
#[path = "../../examples/common"]
mod common {
    pub mod bounds;
    pub mod files;
    pub mod images;
    pub mod inputs;
    pub mod interrupt;
    pub mod learn;
    pub mod output;
    pub mod training;
}
#[allow(dead_code)]
#[path = "../../examples/paper/config.rs"]
mod config;
mod folder;
#[allow(dead_code)]
#[path = "../../examples/paper/networks.rs"]
mod networks;

use config::{Config, Preset, Source};
use folder::folder;
use libfuzzer_sys::fuzz_target;
use std::fs;

fuzz_target!(|bytes: &[u8]| {
    let folder = folder();
    let path = folder.path().join("config.toml");
    fs::write(&path, bytes).unwrap();
    let mut config = match Source::read(&path).and_then(|source| Config::new(Preset::Small, source, &[])) {
        Ok(config) => config,
        Err(error) => return assert!(error.len() < 2000 && error.lines().count() == 1, "{error}"),
    };
    // As it is once the data were read.
    config.fingerprint.get_or_insert_default();
    fs::write(&path, config.print()).unwrap();
    let again = Config::new(Preset::Paper, Source::read_whole(&path).unwrap(), &[]).unwrap();
    assert_eq!(again, config);
    config.check_extends(&again).unwrap();
});
