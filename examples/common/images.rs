//! The images that networks learn.

use interneuron::data::{self, TrainTest};
use std::error::Error;
use std::path::Path;

/// The data set in a folder, or else as many drawn images for training and testing.
pub fn load(folder: Option<&Path>, drawn: (usize, usize), seed: u64) -> Result<TrainTest, Box<dyn Error>> {
    let data = match folder {
        Some(folder) => data::load(folder)?,
        None => {
            eprintln!("drawing {} images of digits", drawn.0 + drawn.1);
            data::digits(drawn.0, drawn.1, seed)
        }
    };
    let (train, test, size) = (data.train.len(), data.test.len(), &data.train.images);
    eprintln!("{train} images for training, {test} for testing, {} × {} pixels", size.height, size.width);
    Ok(data)
}

/// How many classes there are: one more than the largest label.
pub fn classes(data: &TrainTest) -> usize {
    data.classes().outputs()
}
