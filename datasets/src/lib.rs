//! Images with labels: read from IDX files, the format of MNIST, or drawn. Sequences with labels: read from NumPy archives,
//! rows of images, or drawn as trials of tasks for recurrent networks.
//!
//! [`load`] reads a data set from a folder: MNIST, Fashion-MNIST, EMNIST, QMNIST, or your own in their format.
//! [`Files`] are the four files that it finds there; [`read_images`] and [`read_labels`] read one.
//!
//! [`read_npz`] reads a [`SequenceSet`] of your own; [`tasks`] draw trials. A [`SequenceBatch`] is filled from either, or
//! with rows of images, for a recurrent network.

mod content;
mod digits;
mod elements;
mod files;
mod find;
mod gzip;
mod idx;
mod npy;
mod npz;
mod open;
mod sequence_set;
mod sequences;
pub mod tasks;

pub use digits::digits;
pub use files::{Files, load};
pub use idx::{read_images, read_labels};
pub use npz::{Axes, NpzOptions, read_npz};
pub use sequence_set::{SequenceSet, SequenceTargets};
pub use sequences::{Loss, SequenceBatch};

use interneuron::{Element, Error, InputStatistics, MatMut, MatRef, Scaler};
use std::sync::Arc;

/// The pixels of all images, image after image and row after row.
#[derive(Clone, Debug, PartialEq)]
pub enum Pixels {
    /// Grey levels from 0 to 255. A network sees them divided by 255.
    Bytes(Vec<u8>),
    /// Numbers that a network sees as they are.
    Floats(Vec<f32>),
}

/// Images of one size.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Images {
    /// All pixels, `count · height · width`, before a scaler changes them.
    pub pixels: Pixels,
    scaler: Option<Arc<Scaler>>,
    /// How many images.
    pub count: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
}

/// Images and their labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dataset {
    /// The images.
    pub images: Images,
    /// A label for each image.
    pub labels: Vec<u8>,
}

/// What a network is trained on, and what it is tested on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrainTest {
    /// For training.
    pub train: Dataset,
    /// For testing.
    pub test: Dataset,
}

/// The classes of a data set, as its labels have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    /// How many different labels there are.
    pub found: usize,
    /// The least label: 0 or, where classes are counted from 1, 1. It is 0 if there are no labels.
    pub first: u8,
    /// The largest label, or 0 if there are none.
    pub last: u8,
}

impl Default for Pixels {
    fn default() -> Self {
        Self::Bytes(vec![])
    }
}

impl Pixels {
    /// How many pixels.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Floats(floats) => floats.len(),
        }
    }

    /// Whether there is no pixel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes that they lie in, to compute a hash of, for instance. Those of floats are in the machine's order.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Floats(floats) => bytemuck::cast_slice(floats),
        }
    }
}

impl Images {
    /// Images of `height` times `width` pixels.
    ///
    /// # Errors
    /// [`Error::Length`] if there are not `count · height · width` pixels.
    pub fn new(pixels: Pixels, count: usize, height: usize, width: usize) -> Result<Self, Error> {
        let expected = count.saturating_mul(height).saturating_mul(width);
        if pixels.len() != expected {
            return Err(Error::Length { name: "pixels", len: pixels.len(), expected });
        }
        Ok(Self { pixels, scaler: None, count, height, width })
    }

    /// Pixels of an image.
    pub fn size(&self) -> usize {
        self.height * self.width
    }

    /// What is done to the images before a network sees them, beside the division of bytes by 255.
    pub fn scaler(&self) -> Option<&Scaler> {
        self.scaler.as_deref()
    }

    /// Changes what a network sees of the images from now on, of bytes after their division by 255. Once.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the scaler has not as many inputs as an image has pixels, [`Error::Unsupported`] if there is
    /// a scaler already.
    pub fn scale_by(&mut self, scaler: Arc<Scaler>) -> Result<(), Error> {
        let (value, expected) = (scaler.offset().len(), self.size());
        if value != expected {
            let (dimension, other, other_dimension) = ("inputs", "an image", "pixels");
            return Err(Error::Mismatch { name: "the scaler", dimension, value, other, other_dimension, expected });
        }
        if self.scaler.is_some() {
            return Err(Error::Unsupported { what: "a second scaler", expected: "one that does both" });
        }
        self.scaler = Some(scaler);
        Ok(())
    }

    /// What is known of each pixel, as a network in f32 sees it.
    ///
    /// # Errors
    /// [`Error::Dimension`] if there are no images, or no pixels in them.
    pub fn statistics(&self) -> Result<InputStatistics, Error> {
        if self.size() == 0 {
            return Err(Error::Dimension { name: "pixels", value: 0, expected: "at least 1" });
        }
        let mut all: Option<InputStatistics> = None;
        for piece in self.pieces() {
            let x = MatRef::new(&piece, piece.len() / self.size(), self.size())?;
            match &mut all {
                Some(all) => all.add(x)?,
                None => all = Some(InputStatistics::of(x)?),
            }
        }
        all.ok_or(Error::Dimension { name: "images", value: 0, expected: "at least 1" })
    }

    /// All images, some at a time, as a network sees them.
    fn pieces(&self) -> impl Iterator<Item = Vec<f32>> {
        const PIECE: usize = 1024;
        (0..self.count).step_by(PIECE).map(|start| {
            let mut piece = vec![];
            self.gather(start..(start + PIECE).min(self.count), &mut piece);
            piece
        })
    }

    /// Overwrites `x` with the images `indices`, one a row, as a network sees them: bytes are divided by 255, and a
    /// scaler changes them then.
    ///
    /// # Panics
    /// If there is no such image, or sizes were changed so that the pixels or the scaler do not fit.
    pub fn gather<T: Element>(&self, indices: impl IntoIterator<Item = usize>, x: &mut Vec<T>) {
        let size = self.size();
        x.clear();
        match &self.pixels {
            Pixels::Bytes(bytes) => {
                let grey: [T; 256] = std::array::from_fn(|level| T::from_f64(level as f64 / 255.0));
                for index in indices {
                    x.extend(bytes[index * size..][..size].iter().map(|&level| grey[usize::from(level)]));
                }
            }
            Pixels::Floats(floats) => {
                for index in indices {
                    x.extend(floats[index * size..][..size].iter().map(|&value| T::from_f64(value.into())));
                }
            }
        }
        if let Some(scaler) = self.scaler().filter(|_| !x.is_empty()) {
            let rows = x.len() / size;
            let scaled = MatMut::new(x, rows, size).and_then(|x| scaler.apply(x));
            scaled.expect("whole images, with as many pixels as the scaler has inputs");
        }
    }

    /// The least and the largest value that a network sees, or zeros if there are no pixels.
    pub fn range(&self) -> (f64, f64) {
        let ends = (f32::INFINITY, f32::NEG_INFINITY);
        let fold = |ends: (f32, f32), pixels: &[f32]| {
            pixels.iter().fold(ends, |(least, largest), &x| (least.min(x), largest.max(x)))
        };
        match &self.pixels {
            pixels if pixels.is_empty() => (0.0, 0.0),
            _ if self.scaler.is_some() => {
                let (least, largest) = self.pieces().fold(ends, |ends, piece| fold(ends, &piece));
                (f64::from(least), f64::from(largest))
            }
            Pixels::Bytes(bytes) => {
                let ends = bytes.iter().fold((u8::MAX, 0), |(least, largest), &x| (x.min(least), x.max(largest)));
                (f64::from(ends.0) / 255.0, f64::from(ends.1) / 255.0)
            }
            Pixels::Floats(floats) => {
                let (least, largest) = fold(ends, floats);
                (f64::from(least), f64::from(largest))
            }
        }
    }

    /// The mean of what a network sees, or 0 if there are no pixels.
    pub fn mean(&self) -> f64 {
        let len = self.pixels.len();
        match &self.pixels {
            _ if len == 0 => 0.0,
            _ if self.scaler.is_some() => self.pieces().flatten().map(f64::from).sum::<f64>() / len as f64,
            // Whole numbers, so that the order of the sum makes no difference.
            Pixels::Bytes(bytes) => bytes.iter().map(|&x| u64::from(x)).sum::<u64>() as f64 / (255.0 * len as f64),
            Pixels::Floats(floats) => floats.iter().map(|&x| f64::from(x)).sum::<f64>() / len as f64,
        }
    }

    /// The images `indices`, in this order.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn subset(&self, indices: &[usize]) -> Self {
        let size = self.size();
        let pixels = match &self.pixels {
            Pixels::Bytes(bytes) => Pixels::Bytes(rows(bytes, size, indices)),
            Pixels::Floats(floats) => Pixels::Floats(rows(floats, size, indices)),
        };
        Self { pixels, count: indices.len(), scaler: self.scaler.clone(), height: self.height, width: self.width }
    }
}

/// Some rows of a matrix.
fn rows<P: Copy>(pixels: &[P], size: usize, indices: &[usize]) -> Vec<P> {
    let mut chosen = Vec::with_capacity(indices.len() * size);
    for &index in indices {
        chosen.extend_from_slice(&pixels[index * size..][..size]);
    }
    chosen
}

impl Dataset {
    /// How many examples.
    pub fn len(&self) -> usize {
        self.images.count
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.images.count == 0
    }

    /// The examples `indices`, in this order.
    ///
    /// # Panics
    /// If there is no such example.
    pub fn subset(&self, indices: &[usize]) -> Self {
        Self { images: self.images.subset(indices), labels: indices.iter().map(|&index| self.labels[index]).collect() }
    }
}

impl TrainTest {
    /// The classes of the training and test labels together.
    pub fn classes(&self) -> Classes {
        let mut there = [false; 256];
        for &label in self.train.labels.iter().chain(&self.test.labels) {
            there[usize::from(label)] = true;
        }
        let mut labels = (0..=u8::MAX).filter(|&label| there[usize::from(label)]);
        let (found, first) = (labels.clone().count(), labels.next().unwrap_or(0));
        Classes { found, first, last: labels.next_back().unwrap_or(first) }
    }
}

impl Classes {
    /// The output units that a network needs: one more than the largest label, because output unit `k` stands for label
    /// `k`. A label below the largest that does not occur has a unit, too, which learns to stay silent.
    pub fn outputs(&self) -> usize {
        if self.found == 0 { 0 } else { usize::from(self.last) + 1 }
    }
}
