//! What is done to images before networks see them, and to networks because of what they see.

use super::training::words;
use interneuron::{Architecture, Divisor, Error, Law, Scheme};
use interneuron_datasets::TrainTest;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Which pixels get mean 0 and variance 1 together, by the training images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standardise {
    #[default]
    No,
    /// All of all images: one mean and one deviation.
    All,
    /// Each by itself.
    Each,
}

words!(Standardise: No = "no", All = "all", Each = "each");

/// What makes up for inputs below 0, with which divisive inhibition would be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remedy {
    #[default]
    None,
    /// The smallest value that each pixel has in the training images is taken from it.
    Shift,
    /// In the first layer divisors have a floor,
    Floor,
    /// or are roots,
    Root,
    /// or there are none.
    Subtractive,
}

words!(Remedy: None = "none", Shift = "shift", Floor = "floor", Root = "root", Subtractive = "subtractive");

/// The least divisor with [`Remedy::Floor`]. Any from 1e-4 to 1 does.
const FLOOR: f64 = 0.01;

/// What is done because inputs are what they are. By default nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preparation {
    pub standardise: Standardise,
    pub remedy: Remedy,
}

impl Preparation {
    /// Changes what networks see of training and test images, by what is known of those for training.
    pub fn apply(self, sets: &mut TrainTest) -> Result<(), Error> {
        if self.standardise == Standardise::No && self.remedy != Remedy::Shift {
            return Ok(());
        }
        let statistics = sets.train.images.statistics()?;
        let mut scaler = match self.standardise {
            Standardise::No => statistics.identity(),
            Standardise::All => statistics.standardise()?,
            Standardise::Each => statistics.standardise_each()?,
        };
        if self.remedy == Remedy::Shift {
            scaler = statistics.shifted(&scaler)?;
        }
        let scaler = Arc::new(scaler);
        [&mut sets.train, &mut sets.test].into_iter().try_for_each(|set| set.images.scale_by(scaler.clone()))
    }

    /// A network with interneurons for such inputs: the remedy may ask for another first layer.
    pub fn first_layer(self, architecture: Architecture) -> Result<Architecture, Error> {
        match self.remedy {
            Remedy::None | Remedy::Shift => Ok(architecture),
            Remedy::Floor => architecture.divisor_layer(0, Divisor::floor(FLOOR)?),
            Remedy::Root => architecture.divisor_layer(0, Divisor::Root),
            // So that also the excitation by negative inputs is centred.
            Remedy::Subtractive => architecture.subtractive_layer(0)?.init_layer(0, Scheme::Centred(Law::Exponential)),
        }
    }

    /// What was done, for people.
    pub fn told(self) -> Option<String> {
        let standardised = match self.standardise {
            Standardise::No => None,
            Standardise::All if self.remedy == Remedy::Shift => {
                Some("pixels are divided by one deviation of the training images")
            }
            Standardise::Each if self.remedy == Remedy::Shift => {
                Some("each pixel is divided by its deviation in the training images")
            }
            Standardise::All => Some("pixels are standardised by one mean and deviation of the training images"),
            Standardise::Each => Some("each pixel is standardised by its mean and deviation in the training images"),
        };
        let remedy = match self.remedy {
            Remedy::None => None,
            Remedy::Shift => Some("from each pixel its smallest value in the training images is taken".to_owned()),
            Remedy::Floor => Some(format!("in the first layer divisors are at least {FLOOR}")),
            Remedy::Root => Some("in the first layer divisors are roots".to_owned()),
            Remedy::Subtractive => Some("the first layer only subtracts, with exact centring".to_owned()),
        };
        let remedy = remedy.map(|remedy| format!("remedy {}: {remedy}", self.remedy.name()));
        let told: Vec<String> = standardised.map(str::to_owned).into_iter().chain(remedy).collect();
        (!told.is_empty()).then(|| told.join("; "))
    }
}

/// What to ask for where a layer refuses its inputs.
pub const ASK: &str = "--remedy shift, floor, root or subtractive makes up for inputs below 0";
