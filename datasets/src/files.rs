//! The four files of a data set: what they hold together.

use super::idx::{read_images, read_labels};
use super::{Dataset, Pixels, TrainTest};
use interneuron::Error;
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
    /// Reads the files.
    ///
    /// If images lie flat in one of them (`[60000, 784]`) and not in the other, both get the height and width of the
    /// other.
    ///
    /// # Errors
    /// [`Error::File`], naming the file, if one cannot be read, as [`read_images`] and [`read_labels`] say; if images
    /// and labels differ in number; if the images for training and for testing differ in size, or some are grey levels
    /// and others floats; or if all labels are the same.
    pub fn load(&self) -> Result<TrainTest, Error> {
        let (train, test) =
            (read(&self.train_images, &self.train_labels)?, read(&self.test_images, &self.test_labels)?);
        let mut data = TrainTest { train, test };
        self.agree(&mut data)?;
        let classes = data.classes();
        if classes.found < 2 {
            let reason = format!("one class alone, label {}: expected at least 2", classes.first);
            return Err(Error::file(&self.train_labels, reason));
        }
        Ok(data)
    }

    /// Refuses images for testing that are others than those for training.
    fn agree(&self, data: &mut TrainTest) -> Result<(), Error> {
        let (train, test) = (&mut data.train.images, &mut data.test.images);
        let fail = |reason: String| Err(Error::file(&self.test_images, reason));
        let others = self.train_images.display();
        let ((train_h, train_w), (h, w)) = ((train.height, train.width), (test.height, test.width));
        if (h, w) != (train_h, train_w) {
            let flat = |h, w| h == 1 || w == 1;
            if train.size() != test.size() || !(flat(h, w) || flat(train_h, train_w)) {
                return fail(format!("images of {h} × {w}, but those of {others} have {train_h} × {train_w}"));
            }
            let sides = if flat(h, w) { (train_h, train_w) } else { (h, w) };
            (train.height, train.width) = sides;
            (test.height, test.width) = sides;
        }
        let grey = |pixels: &Pixels| matches!(pixels, Pixels::Bytes(_));
        let words = ["floats, used as they are", "grey levels from 0 to 255, used divided by 255"];
        let [there, expected] = [&test.pixels, &train.pixels].map(|pixels| words[usize::from(grey(pixels))]);
        if there != expected {
            return fail(format!(
                "pixels are {there}, but those of {others} are {expected}: expected one scale for both"
            ));
        }
        Ok(())
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
