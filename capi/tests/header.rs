//! The committed header is what `cbindgen` makes of the sources.
//!
//! `INTERNEURON_WRITE_HEADER=1 cargo test -p interneuron-capi --test header` rewrites it.

use std::path::Path;

#[test]
fn the_header_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    // In the order in which one reads about them.
    let sources = [
        "status",
        "info",
        "element",
        "shapes",
        "config",
        "table",
        "context",
        "layer",
        "network",
        "targets",
        "inspect",
        "state",
        "checkpoint",
    ];
    let builder = sources.iter().fold(cbindgen::Builder::new().with_config(config), |builder, name| {
        builder.with_src(root.join("src").join(name).with_extension("rs"))
    });
    let mut bytes = vec![];
    builder.generate().unwrap().write(&mut bytes);
    let generated = String::from_utf8(bytes).unwrap();
    let path = root.join("include/interneuron.h");
    if std::env::var_os("INTERNEURON_WRITE_HEADER").is_some_and(|value| !value.is_empty()) {
        std::fs::write(&path, generated).unwrap();
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(
        committed == generated,
        "{} is not what the sources say: set INTERNEURON_WRITE_HEADER=1 to rewrite it",
        path.display()
    );
}
