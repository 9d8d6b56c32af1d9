//! `SAFETY.md` knows every file with unsafe code, and how much of it there is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Blocks of unsafe code in each file below a folder.
fn blocks(folder: &Path, found: &mut BTreeMap<PathBuf, usize>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // Tests call the C functions as C does.
            if path.file_name().is_some_and(|name| name != "tests") {
                blocks(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let code = fs::read_to_string(&path).unwrap();
            let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            let count = lines.map(|line| line.matches("unsafe {").count() + line.matches("unsafe impl").count()).sum();
            if count > 0 {
                found.insert(path, count);
            }
        }
    }
}

#[test]
fn the_list_is_complete() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("SAFETY.md")).unwrap();
    let mut listed = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let file = root.join(cells.next().unwrap().trim_matches('`'));
        let count: usize = cells.next().unwrap().parse().unwrap();
        for argument in cells.next().unwrap().split(", ") {
            assert!(text.contains(&format!("**{argument}. ")), "{line}: no argument {argument}");
        }
        listed.insert(file, count);
    }
    let mut found = BTreeMap::new();
    blocks(&root.join("src"), &mut found);
    // The companion crates are not part of the package.
    for companion in ["capi", "baseline", "datasets", "python"].map(|name| root.join(name)) {
        if companion.is_dir() {
            blocks(&companion.join("src"), &mut found);
        } else {
            listed.retain(|file, _| !file.starts_with(&companion));
        }
    }
    assert_eq!(listed, found, "what SAFETY.md lists, and what there is");
}

/// The files that the text names are there.
#[test]
fn the_tests_that_it_names_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("SAFETY.md")).unwrap();
    let names: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    let packaged = |name: &&&str| ["src/", "tests/", "examples/"].iter().any(|folder| name.starts_with(folder));
    assert!(names.iter().filter(packaged).count() > 20);
    for name in names.iter().filter(packaged) {
        assert!(root.join(name).exists(), "{name}");
    }
    let tests = fs::read_to_string(root.join("tests/layers.rs")).unwrap();
    for name in names.iter().filter(|name| name.contains('_') && name.chars().all(|c| c == '_' || c.is_lowercase())) {
        let known = tests.contains(&format!("fn {name}")) || *name == "unsafe_op_in_unsafe_fn";
        assert!(known, "no test {name}");
    }
}
