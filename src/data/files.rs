//! The four files of a data set: where they are, and what they hold together.

use super::idx::{read_images, read_labels};
use super::{Dataset, TrainTest};
use crate::error::Error;
use std::path::{Path, PathBuf};

/// The four files of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The images for training.
    pub train_images: PathBuf,
    /// Their labels.
    pub train_labels: PathBuf,
    /// The images for testing.
    pub test_images: PathBuf,
    /// Their labels.
    pub test_labels: PathBuf,
}

/// Finds the four files of a data set in a folder, as [`Files::find`], and reads them, as [`Files::load`].
///
/// # Errors
/// Those of both.
pub fn load(folder: impl AsRef<Path>) -> Result<TrainTest, Error> {
    Files::find(folder.as_ref())?.load()
}

impl Files {
    /// Finds the files in a folder: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
    /// `t10k-labels-idx1-ubyte`, each plain or with `.gz` appended.
    ///
    /// # Errors
    /// [`Error::File`] if there is no such folder, or no such file in it.
    pub fn find(folder: impl AsRef<Path>) -> Result<Self, Error> {
        let find = |name| find(folder.as_ref(), name);
        Ok(Self {
            train_images: find("train-images-idx3-ubyte")?,
            train_labels: find("train-labels-idx1-ubyte")?,
            test_images: find("t10k-images-idx3-ubyte")?,
            test_labels: find("t10k-labels-idx1-ubyte")?,
        })
    }

    /// Reads the files.
    ///
    /// # Errors
    /// [`Error::File`], naming the file, if one cannot be read, as [`read_images`] and [`read_labels`] say, if images and
    /// labels differ in number or images in size, or if all labels are the same.
    pub fn load(&self) -> Result<TrainTest, Error> {
        let train = read(&self.train_images, &self.train_labels)?;
        let test = read(&self.test_images, &self.test_labels)?;
        let size = |set: &Dataset| (set.images.height, set.images.width);
        if size(&train) != size(&test) {
            let ((h, w), (train_h, train_w)) = (size(&test), size(&train));
            let train = self.train_images.display();
            let reason = format!("images of {h} × {w}, but those of {train} have {train_h} × {train_w}");
            return Err(Error::file(&self.test_images, reason));
        }
        let data = TrainTest { train, test };
        let classes = data.classes();
        if classes.found < 2 {
            let reason = format!("one class alone, label {}: expected at least 2", classes.first);
            return Err(Error::file(&self.train_labels, reason));
        }
        Ok(data)
    }
}

/// Images and as many labels.
fn read(images_path: &Path, labels_path: &Path) -> Result<Dataset, Error> {
    let images = read_images(images_path)?;
    let labels = read_labels(labels_path)?;
    if images.count != labels.len() {
        let reason = format!("{} labels for the {} images of {}", labels.len(), images.count, images_path.display());
        return Err(Error::file(labels_path, reason));
    }
    Ok(Dataset { images, labels })
}

/// The file of this name, or with `.gz` appended.
fn find(folder: &Path, name: &str) -> Result<PathBuf, Error> {
    if !folder.is_dir() {
        return Err(Error::file(folder, "no such folder"));
    }
    let candidates = [folder.join(name), folder.join(format!("{name}.gz"))];
    candidates
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| Error::file(&folder.join(name), "no such file, with or without .gz"))
}
