//! The images that networks learn, and what they are known by.

use super::inputs::{ASK, Preparation, Remedy};
use super::output::note;
use interneuron_datasets::{self as data, Classes, Dataset, Files, TrainTest};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::path::Path;

/// A data set, with what follows from it.
pub struct Data {
    pub sets: TrainTest,
    pub classes: Classes,
    pub fingerprint: Fingerprint,
    /// Where it was read, unless it was drawn.
    files: Option<Files>,
}

/// What the data are, wherever they lie and however they are compressed: a hash of each of the four files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    pub train_images: String,
    pub train_labels: String,
    pub test_images: String,
    pub test_labels: String,
}

impl Fingerprint {
    fn new(data: &TrainTest) -> Self {
        let [train, test] = [&data.train, &data.test];
        Self {
            train_images: images(train),
            train_labels: labels(train),
            test_images: images(test),
            test_labels: labels(test),
        }
    }

    fn parts(&self) -> [(&'static str, &str); 4] {
        let Self { train_images, train_labels, test_images, test_labels } = self;
        [
            ("training images", train_images),
            ("training labels", train_labels),
            ("test images", test_images),
            ("test labels", test_labels),
        ]
    }
}

impl Data {
    /// The data set in a folder, or else as many drawn images for training and testing, prepared for networks. Says what
    /// was found and done, and warns of what the theory of inhibition does not allow for.
    pub fn load(
        folder: Option<&Path>,
        drawn: (usize, usize),
        seed: u64,
        preparation: Preparation,
    ) -> Result<Self, Box<dyn Error>> {
        let files = folder.map(Files::find).transpose()?;
        let mut sets = match &files {
            Some(files) => files.load()?,
            None => {
                note(format_args!("drawing {} images of digits", drawn.0 + drawn.1));
                data::digits(drawn.0, drawn.1, seed)
            }
        };
        preparation.apply(&mut sets)?;
        let data = Self { classes: sets.classes(), fingerprint: Fingerprint::new(&sets), sets, files };
        data.tell(preparation);
        Ok(data)
    }

    fn tell(&self, preparation: Preparation) {
        let TrainTest { train, test } = &self.sets;
        let (height, width) = (train.images.height, train.images.width);
        let Classes { found, first, last } = self.classes;
        note(format_args!(
            "{} images for training, {} for testing, {height} × {width} pixels, {found} classes (labels {first} to {last})",
            train.len(),
            test.len()
        ));
        if let Some(told) = preparation.told() {
            note(format_args!("{told}"));
        }
        let (low, high) = train.images.range();
        if low < 0.0 && preparation.remedy == Remedy::None {
            note(format_args!(
                "warning: pixels reach from {low:.3} to {high:.3}: divisive inhibition is made for inputs ≥ 0, and a \
                 network that divides stops where a divisor is negative. {ASK}"
            ));
        } else if high > 16.0 {
            note(format_args!("warning: pixels reach to {high:.1}: rates are made for inputs up to about 1"));
        }
    }

    /// Names the first part that differs from data that were known by another fingerprint.
    pub fn difference(&self, before: &Fingerprint) -> Option<String> {
        let parts = self.fingerprint.parts().into_iter().zip(before.parts());
        let index = parts.into_iter().position(|((_, now), (_, before))| now != before)?;
        let (name, _) = self.fingerprint.parts()[index];
        let path = self.files.as_ref().map(|files| {
            [&files.train_images, &files.train_labels, &files.test_images, &files.test_labels][index].display()
        });
        Some(path.map_or_else(|| format!("the {name} that are drawn"), |path| format!("the {name} ({path})")))
    }
}

fn images(set: &Dataset) -> String {
    let sizes = [set.images.count, set.images.height, set.images.width];
    let hash = sizes.iter().fold(FNV, |hash, &size| fnv(hash, &(size as u64).to_le_bytes()));
    format!("{:016x}", fnv(hash, set.images.pixels.as_bytes()))
}

fn labels(set: &Dataset) -> String {
    format!("{:016x}", fnv(FNV, &set.labels))
}

/// The hash of nothing.
pub const FNV: u64 = 0xcbf2_9ce4_8422_2325;

/// Hashes on (FNV-1a): not against malice, but the same everywhere.
pub fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
