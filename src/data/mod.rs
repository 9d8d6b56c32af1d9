//! Images with labels: read from IDX files, the format of MNIST, or drawn.

mod digits;
mod idx;

pub use digits::digits;
pub use idx::{load, read_images, read_labels};

use crate::element::Element;

/// Grey images of one size, a byte a pixel, row after row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images {
    /// All pixels: `count · height · width` bytes.
    pub pixels: Vec<u8>,
    /// How many images.
    pub count: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
}

/// Images and their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dataset {
    /// The images.
    pub images: Images,
    /// A label for each image.
    pub labels: Vec<u8>,
}

/// What a network is trained on, and what it is tested on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrainTest {
    /// For training.
    pub train: Dataset,
    /// For testing.
    pub test: Dataset,
}

impl Images {
    /// Pixels of an image.
    pub fn size(&self) -> usize {
        self.height * self.width
    }

    /// Overwrites `x` with the images `indices`, one a row, pixels divided by 255.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn gather<T: Element>(&self, indices: impl IntoIterator<Item = usize>, x: &mut Vec<T>) {
        let size = self.size();
        let grey: [T; 256] = std::array::from_fn(|level| T::from_f64(level as f64 / 255.0));
        x.clear();
        for index in indices {
            let pixels = &self.pixels[index * size..][..size];
            x.extend(pixels.iter().map(|&pixel| grey[usize::from(pixel)]));
        }
    }
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
}
