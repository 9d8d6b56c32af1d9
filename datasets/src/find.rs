//! Where the four files of a data set are: what people and tools call them.

use super::files::Files;
use interneuron::Error;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One of the four files.
struct Part {
    /// The words for the set that it belongs to.
    sets: &'static [&'static str],
    /// The words for what is in it.
    contents: [&'static str; 2],
    /// What MNIST calls it.
    name: &'static str,
    what: &'static str,
}

const PARTS: [Part; 4] = [
    Part {
        sets: &["train"],
        contents: ["images", "image"],
        name: "train-images-idx3-ubyte",
        what: "images for training",
    },
    Part {
        sets: &["train"],
        contents: ["labels", "label"],
        name: "train-labels-idx1-ubyte",
        what: "labels for training",
    },
    Part {
        sets: &["t10k", "test"],
        contents: ["images", "image"],
        name: "t10k-images-idx3-ubyte",
        what: "images for testing",
    },
    Part {
        sets: &["t10k", "test"],
        contents: ["labels", "label"],
        name: "t10k-labels-idx1-ubyte",
        what: "labels for testing",
    },
];

/// What a name may say of the type of elements.
const TYPES: [&str; 13] = [
    "ubyte", "byte", "sbyte", "uint8", "int8", "short", "int16", "int", "int32", "float", "float32", "double",
    "float64",
];

const ZIPPED: &str = ".gz";
/// The most names in an error.
const MOST: usize = 6;

/// How well a name fits; better ones are less.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// MNIST's own.
    Exact,
    Spelling,
    /// In a folder of its own.
    Within,
}

/// What a name says.
struct Name {
    /// Which of the parts.
    part: usize,
    /// The words before, as `emnist-letters`.
    prefix: String,
    zipped: bool,
}

/// A file that may be one of the four.
struct Candidate {
    name: Name,
    fit: Fit,
    path: PathBuf,
}

/// Words, with all that parts them made alike.
fn words(name: &str) -> Vec<String> {
    let words = name.split(['-', '.', '_', ' ']).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

impl Name {
    /// Understands the name of a file.
    fn parse(name: &str) -> Option<Self> {
        if name.starts_with('.') {
            return None;
        }
        let zipped = name.len() > ZIPPED.len()
            && name.as_bytes()[name.len() - ZIPPED.len()..].eq_ignore_ascii_case(ZIPPED.as_bytes());
        let words = words(if zipped { &name[..name.len() - ZIPPED.len()] } else { name });
        // What may end it: idx3-ubyte, idx3 or nothing.
        let idx = |word: &String| {
            let digits = |rest: &str| rest.trim_start_matches(|c: char| c.is_ascii_digit()).is_empty();
            word.strip_prefix("idx").is_some_and(digits)
        };
        let end = match &words[..] {
            [.., word, kind] if idx(word) && TYPES.contains(&&kind[..]) => words.len() - 2,
            [.., word] if idx(word) => words.len() - 1,
            _ => words.len(),
        };
        let [prefix @ .., set, contents] = &words[..end] else { return None };
        let fits = |part: &Part| part.sets.contains(&&set[..]) && part.contents.contains(&&contents[..]);
        let part = PARTS.iter().position(fits)?;
        Some(Self { part, prefix: prefix.join("-"), zipped })
    }
}

impl Candidate {
    /// The path without `.gz`.
    fn stem(&self) -> String {
        let path = self.path.to_string_lossy();
        path[..path.len() - if self.name.zipped { ZIPPED.len() } else { 0 }].to_owned()
    }
}

impl Files {
    /// Finds the files in a folder that has exactly one for each of the four. Looked for are, and the first of these
    /// that there is counts:
    ///
    /// 1. the names that MNIST has: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
    ///    `t10k-labels-idx1-ubyte`;
    /// 2. the same in another spelling, such as `train-images.idx3-ubyte`, `Test_Labels` or
    ///    `emnist-letters-test-images-idx3-ubyte`: `.`, `_` or a space for `-`, in any case, with words before it,
    ///    `test` for `t10k`, `image` and `label`, and `idx1` or the like with or without a type, or nothing, at the
    ///    end;
    /// 3. the same in a folder that itself has such a name: `train-images-idx3-ubyte/train-images-idx3-ubyte`.
    ///
    /// Each may have `.gz` appended; of two that differ in that alone, the one without counts. Whether a file is
    /// compressed is told by what it begins with.
    ///
    /// Of several sets in one folder, as EMNIST comes, one is named by what its files' names begin with, as if that
    /// were a folder: `gzip/emnist-letters`.
    ///
    /// # Errors
    /// [`Error::File`] if there is no such folder, if one of the files is missing, or if there are several for it: the
    /// error names them.
    pub fn find(folder: impl AsRef<Path>) -> Result<Self, Error> {
        find(folder.as_ref())
    }
}

/// Finds the files of a data set in a folder, or those of a set whose names begin as the path ends.
fn find(folder: &Path) -> Result<Files, Error> {
    match fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => {
            // Without a look at what else is there, which need not be allowed.
            if let Some(files) = exact(folder) {
                return Ok(files);
            }
            return choose(folder, folder, list(folder, None)?);
        }
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(Error::file(folder, error));
        }
        _ => {}
    }
    let named = || {
        let name = words(&folder.file_name()?.to_string_lossy()).join("-");
        let parent =
            folder.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
        let mut candidates = list(parent, None).ok()?;
        // emnist-letters, or else emnist, if there is only one that begins so.
        let whole = candidates.iter().any(|candidate| candidate.name.prefix == name);
        candidates.retain(|Candidate { name: Name { prefix, .. }, .. }| {
            *prefix == name || !whole && prefix.strip_prefix(&name).is_some_and(|rest| rest.starts_with('-'))
        });
        Some((parent, candidates)).filter(|(_, candidates)| !candidates.is_empty() && !name.is_empty())
    };
    match named() {
        Some((parent, candidates)) => choose(folder, parent, candidates),
        None if folder.exists() => Err(Error::file(folder, "not a folder: expected one with the files of a data set")),
        None => Err(Error::file(folder, "no such folder, and no files of a data set whose names begin so")),
    }
}

/// The files under the names that MNIST has.
fn exact(folder: &Path) -> Option<Files> {
    let find = |name: &str| {
        let paths = [folder.join(name), folder.join(format!("{name}{ZIPPED}"))];
        paths.into_iter().find(|path| is_file(path))
    };
    let [train_images, train_labels, test_images, test_labels] = PARTS.map(|part| find(part.name));
    Some(Files {
        train_images: train_images?,
        train_labels: train_labels?,
        test_images: test_images?,
        test_labels: test_labels?,
    })
}

/// Whether there is something other than a folder. What cannot be read is refused when it is read.
fn is_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_dir())
}

/// The files in a folder that may be one of the four or, within a folder of such a name, the same one.
fn list(folder: &Path, within: Option<&Name>) -> Result<Vec<Candidate>, Error> {
    let fail = |error: io::Error| Error::file(folder, error);
    let mut candidates = vec![];
    for entry in fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let (path, text) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let Some(name) = Name::parse(&text) else { continue };
        match within {
            Some(outer) if name.part == outer.part && is_file(&path) => {
                candidates.push(Candidate { name, fit: Fit::Within, path });
            }
            None if is_file(&path) => {
                let plain = PARTS[name.part].name;
                let fit = if text.strip_suffix(ZIPPED).unwrap_or(&text) == plain { Fit::Exact } else { Fit::Spelling };
                candidates.push(Candidate { name, fit, path });
            }
            None => candidates.append(&mut list(&path, Some(&name)).unwrap_or_default()),
            Some(_) => {}
        }
    }
    candidates.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(candidates)
}

/// The different files that fit a part best.
fn best(candidates: &[Candidate], part: usize) -> Vec<&Candidate> {
    let of_part = || candidates.iter().filter(|candidate| candidate.name.part == part);
    let Some(fit) = of_part().map(|candidate| candidate.fit).min() else { return vec![] };
    let plain: BTreeSet<String> = of_part().filter(|candidate| !candidate.name.zipped).map(Candidate::stem).collect();
    // Two names of one file are no two files.
    let mut seen = BTreeSet::new();
    let new = |candidate: &&Candidate| seen.insert(fs::canonicalize(&candidate.path).unwrap_or(candidate.path.clone()));
    let best = of_part().filter(|candidate| candidate.fit == fit);
    best.filter(|candidate| !candidate.name.zipped || !plain.contains(&candidate.stem())).filter(new).collect()
}

/// Chooses the files of a data set that the user calls `asked`.
fn choose(asked: &Path, folder: &Path, candidates: Vec<Candidate>) -> Result<Files, Error> {
    let found: Vec<Vec<&Candidate>> = (0..PARTS.len()).map(|part| best(&candidates, part)).collect();
    if let Some(part) = found.iter().position(Vec::is_empty) {
        return Err(missing(asked, folder, &PARTS[part]));
    }
    let prefixes = |candidates: &[&Candidate]| -> BTreeSet<String> {
        candidates.iter().map(|candidate| candidate.name.prefix.clone()).collect()
    };
    let all = prefixes(&candidates.iter().collect::<Vec<_>>());
    let complete: BTreeSet<String> =
        all.iter().filter(|&prefix| found.iter().all(|found| prefixes(found).contains(prefix))).cloned().collect();
    if let Some((part, several)) = found.iter().enumerate().find(|(_, found)| found.len() > 1) {
        let sets = prefixes(several).len() > 1 && complete.len() > 1;
        return Err(if sets {
            several_sets(asked, folder, &complete)
        } else {
            several_files(asked, folder, part, several)
        });
    }
    let chosen: Vec<&Candidate> = found.into_iter().flatten().collect();
    // Names that begin differently belong together only if there is no other way to take them.
    let of_part = |part| -> Vec<_> { candidates.iter().filter(|candidate| candidate.name.part == part).collect() };
    if prefixes(&chosen).len() > 1 && (0..PARTS.len()).any(|part| prefixes(&of_part(part)).len() > 1) {
        return Err(several_sets(asked, folder, &all));
    }
    let [train_images, train_labels, test_images, test_labels] = std::array::from_fn(|part| chosen[part].path.clone());
    Ok(Files { train_images, train_labels, test_images, test_labels })
}

/// The error of a part that is not there.
fn missing(asked: &Path, folder: &Path, part: &Part) -> Error {
    let path = if asked == folder {
        folder.join(part.name)
    } else {
        let prefix = asked.file_name().unwrap_or_default().to_string_lossy();
        folder.join(format!("{prefix}-{}", part.name))
    };
    let name = part.name;
    let [contents, content] = part.contents;
    let sets = part.sets.join(" or ");
    let reason = format!(
        "no such file, with or without .gz: no {} in the folder; looked for {name}, and for {sets}, {contents} or \
         {content}, and perhaps idx and a type, in any case, after any words, with - . _ or a space between, and for \
         the same in a folder of such a name",
        part.what
    );
    Error::file(&path, reason)
}

/// Some of many names.
fn some(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(MOST);
    let names = names.take(MOST).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{names} and {more} more") } else { names }
}

/// The error of a part that several files may be.
fn several_files(asked: &Path, folder: &Path, part: usize, files: &[&Candidate]) -> Error {
    let name = |file: &&Candidate| file.path.strip_prefix(folder).unwrap_or(&file.path).display().to_string();
    let (what, names) = (PARTS[part].what, some(files.iter().map(name)));
    Error::file(asked, format!("several files may be the {what}: expected one of {names}"))
}

/// The error of several data sets.
fn several_sets(asked: &Path, folder: &Path, prefixes: &BTreeSet<String>) -> Error {
    let name = |prefix: &String| if prefix.is_empty() { "(nothing)".to_owned() } else { prefix.clone() };
    let example = folder.join(prefixes.last().map_or("", String::as_str));
    let (names, example) = (some(prefixes.iter().map(name)), example.display());
    let reason = format!("several data sets, whose names begin with {names}: expected one; name it, such as {example}");
    Error::file(asked, reason)
}
