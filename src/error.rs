//! The one error type, and the checks that return it.

/// What can be wrong with a call. Whenever an error is returned, outputs and parameters are as they were.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No instruction set has this name.
    #[error("unknown instruction set {name:?}: expected one of {}", names.join(", "))]
    UnknownIsa {
        /// The name asked for.
        name: String,
        /// The names that there are.
        names: Vec<&'static str>,
    },
    /// The CPU lacks the instruction set.
    #[error("this CPU has no {name}: it has {}", available.join(", "))]
    UnsupportedIsa {
        /// The name asked for.
        name: String,
        /// The instruction sets that the CPU has.
        available: Vec<&'static str>,
    },
    /// A dimension is zero or too large, or two dimensions disagree.
    #[error("{name} is {value}: expected {expected}")]
    Dimension {
        /// The dimension.
        name: &'static str,
        /// Its value.
        value: usize,
        /// What it should be.
        expected: &'static str,
    },
    /// Two arrays, or an array and a layer or a network, disagree in a dimension.
    #[error("{name} has {}, {other} has {}", count(*value, dimension), count(*expected, other_dimension))]
    Mismatch {
        /// The array or the layer.
        name: &'static str,
        /// Its dimension that is wrong, in the plural: `rows`.
        dimension: &'static str,
        /// How many of them it has.
        value: usize,
        /// What it should agree with.
        other: &'static str,
        /// What the dimension is there, in the plural: `examples`.
        other_dimension: &'static str,
        /// How many of them are there.
        expected: usize,
    },
    /// A call for another kind of layer, or parameters or gradients of one.
    #[error("the layer or the arrays are of another kind: expected {expected}")]
    Kind {
        /// The kind of the layer.
        expected: &'static str,
    },
    /// Something is wrong with one layer of a network: its shape, or arrays for it.
    #[error("layer {index}: {source}")]
    Layer {
        /// The layer, counted from 0 at the input.
        index: usize,
        /// What is wrong.
        #[source]
        source: Box<Error>,
    },
    /// An array has the wrong length.
    #[error("{name} has {}: expected {expected}", count(*len, "elements"))]
    Length {
        /// The array.
        name: &'static str,
        /// Its length.
        len: usize,
        /// The length it should have.
        expected: usize,
    },
    /// Rows overlap.
    #[error("{name} has rows {stride} elements apart: expected at least their width, {width}")]
    Stride {
        /// The array.
        name: &'static str,
        /// Distance of its rows.
        stride: usize,
        /// Width of its rows.
        width: usize,
    },
    /// An element of an input, or of a parameter that is imported, has a forbidden value.
    #[error("{name}[{index}] is {value}: expected {expected}")]
    Value {
        /// The array.
        name: &'static str,
        /// Index of the element, row-major.
        index: usize,
        /// Its value.
        value: f64,
        /// What it should be.
        expected: &'static str,
    },
    /// The learning rate cannot be used.
    #[error("lr is {lr}: expected a finite number ≥ 0")]
    LearningRate {
        /// The learning rate.
        lr: f64,
    },
    /// A factor on the learning rate cannot be used.
    #[error("the learning-rate factor of {name} is {value}: expected a finite number ≥ 0")]
    Factor {
        /// The parameter.
        name: &'static str,
        /// Its factor.
        value: f64,
    },
    /// A policy of an update, or a number of an initialisation, cannot be used.
    #[error("{name} is {value}: expected {expected}")]
    Policy {
        /// The number.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What it should be.
        expected: &'static str,
    },
    /// A call asks for what it does not support.
    #[error("{what} is not supported here; use {expected}")]
    Unsupported {
        /// What was asked for.
        what: &'static str,
        /// What to use instead.
        expected: &'static str,
    },
    /// A label names no class.
    #[error("label {index} is {label}: expected less than {classes}, the number of classes")]
    Label {
        /// Index of the example.
        index: usize,
        /// Its label.
        label: u32,
        /// The number of classes.
        classes: usize,
    },
    /// A backward pass, or a question about the last forward pass, without the forward pass that it follows.
    #[error("the tape keeps no forward pass of this layer: call `forward` (not `infer`) before each backward pass")]
    NoForward,
    /// The loss is not finite, so that it has no gradient.
    #[error("the loss is {loss}: expected a finite number; outputs overflow, or the parameters are not finite")]
    Loss {
        /// The loss.
        loss: f64,
    },
    /// The loss stopped being finite; the step changed nothing.
    #[error("the loss is {loss} in step {step} at learning rate {lr}: the parameters are those before this step")]
    Diverged {
        /// The step, counted from 0.
        step: u64,
        /// The learning rate.
        lr: f64,
        /// The loss.
        loss: f64,
    },
    /// Divisors are below ε, so that divisive inhibition is negative somewhere; the step changed nothing.
    #[error(
        "layer {layer}: {} % of its divisors are below ε, the smallest is {smallest:.2e}: divisive inhibition needs inputs \
         ≥ 0. Subtract from each input its smallest value in the training data, or choose another layer: with a \
         floor or a root (Divisor), or one that only subtracts, with exact centring (Scheme::Centred). The parameters \
         are those before this step",
        digits(100.0 * share)
    )]
    Divisor {
        /// The layer, counted from 0 at the input.
        layer: usize,
        /// The part of its divisors that is below, from 0 to 1.
        share: f64,
        /// The smallest divisor.
        smallest: f64,
    },
    /// More memory than there is.
    #[error("{elements} elements do not fit in memory")]
    TooLarge {
        /// The elements asked for.
        elements: usize,
    },
    /// A file cannot be read or written, or does not hold what it should.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// The error of layer `index` of a network.
    pub(crate) fn in_layer(self, index: usize) -> Self {
        Self::Layer { index, source: Box::new(self) }
    }
}

/// A number to two digits.
fn digits(x: f64) -> f64 {
    format!("{x:.1e}").parse().unwrap_or(x)
}

/// A number of things, which have a name in the plural.
fn count(n: usize, things: &str) -> String {
    format!("{n} {}", if n == 1 { things.strip_suffix('s').unwrap_or(things) } else { things })
}

// Checks of dimensions, lengths and values: every module asks here, so that one kind of mistake has one text.

/// Checks that a dimension of `name` is the one of `other`; what they are called is a plural.
///
/// # Errors
/// [`Error::Mismatch`].
pub(crate) fn same(
    name: &'static str,
    dimension: &'static str,
    value: usize,
    other: &'static str,
    other_dimension: &'static str,
    expected: usize,
) -> Result<(), Error> {
    if value != expected {
        return Err(Error::Mismatch { name, dimension, value, other, other_dimension, expected });
    }
    Ok(())
}

/// Checks that a dimension is not zero.
///
/// # Errors
/// [`Error::Dimension`].
pub(crate) fn dimension(name: &'static str, value: usize) -> Result<(), Error> {
    if value == 0 {
        return Err(Error::Dimension { name, value, expected: "at least 1" });
    }
    Ok(())
}

/// Checks that a dimension is not more than `most`, which `expected` says in words.
///
/// # Errors
/// [`Error::Dimension`].
pub(crate) fn at_most(name: &'static str, value: usize, most: usize, expected: &'static str) -> Result<(), Error> {
    if value > most {
        return Err(Error::Dimension { name, value, expected });
    }
    Ok(())
}

/// The elements of an array of `rows` rows, which `name` says, and `cols` columns.
///
/// # Errors
/// [`Error::Dimension`] if no memory can hold so many, of any element type.
pub(crate) fn area(name: &'static str, rows: usize, cols: usize) -> Result<usize, Error> {
    let elements = rows.checked_mul(cols).filter(|&n| n <= isize::MAX as usize / size_of::<f64>());
    elements.ok_or(Error::Dimension { name, value: rows, expected: "dimensions whose product fits in memory" })
}

/// Checks the length of an array.
///
/// # Errors
/// [`Error::Length`].
pub(crate) fn length(name: &'static str, len: usize, expected: usize) -> Result<(), Error> {
    if len != expected {
        return Err(Error::Length { name, len, expected });
    }
    Ok(())
}

/// Checks that `len` elements are `rows` rows of `cols` elements and no more.
///
/// # Errors
/// [`Error::Length`], also if no array is so long; [`Error::Dimension`] if the matrix is empty.
pub(crate) fn packed_rows(len: usize, rows: usize, cols: usize) -> Result<(), Error> {
    // A product that overflows is refused here, or else by the next check, which does not saturate.
    length("data", len, rows.saturating_mul(cols))?;
    strided_rows(len, rows, cols, cols)
}

/// Checks that `len` elements hold `rows` rows of `cols` elements, `stride` elements apart.
///
/// # Errors
/// [`Error::Dimension`] if the matrix is empty, [`Error::Stride`] if its rows overlap, [`Error::Length`] if the
/// elements end before the last row does.
pub(crate) fn strided_rows(len: usize, rows: usize, cols: usize, stride: usize) -> Result<(), Error> {
    dimension("rows", rows)?;
    dimension("cols", cols)?;
    if stride < cols {
        return Err(Error::Stride { name: "data", stride, width: cols });
    }
    let needed = (rows - 1).checked_mul(stride).and_then(|n| n.checked_add(cols));
    match needed {
        Some(needed) if needed <= len => Ok(()),
        _ => Err(Error::Length { name: "data", len, expected: needed.unwrap_or(usize::MAX) }),
    }
}

/// Checks that all values are finite and, unless they are `signed`, not negative.
///
/// # Errors
/// [`Error::Value`] of the first that is not.
pub(crate) fn values(name: &'static str, values: impl IntoIterator<Item = f64>, signed: bool) -> Result<(), Error> {
    match values.into_iter().enumerate().find(|(_, v)| !v.is_finite() || (!signed && *v < 0.0)) {
        None => Ok(()),
        Some((index, value)) => {
            let expected = if signed { "a finite number" } else { "a finite number ≥ 0" };
            Err(Error::Value { name, index, value, expected })
        }
    }
}

/// Checks that there is a label for each example and that it names a class.
///
/// # Errors
/// [`Error::Length`] or [`Error::Label`].
pub(crate) fn check_labels(labels: &[u32], examples: usize, classes: usize) -> Result<(), Error> {
    length("labels", labels.len(), examples)?;
    match labels.iter().position(|&label| label as usize >= classes) {
        Some(index) => Err(Error::Label { index, label: labels[index], classes }),
        None => Ok(()),
    }
}

impl Error {
    /// What is wrong with a file: each text in one line, and a long reason without its middle.
    pub fn file(path: &std::path::Path, reason: impl ToString) -> Self {
        Self::File { path: one_line(path.display().to_string()), reason: brief(one_line(reason.to_string())) }
    }
}

/// A text in one line, whatever a file or its name says: with its control characters as Rust writes them.
fn one_line(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}

/// A reason that can be read: without the middle of what a file may say at any length.
fn brief(reason: String) -> String {
    const END: usize = 200;
    let middle = || {
        reason.char_indices().nth(2 * END)?;
        let (begin, _) = reason.char_indices().nth(END)?;
        let (end, _) = reason.char_indices().nth_back(END)?;
        Some((begin, end))
    };
    match middle() {
        Some((begin, end)) => format!("{} … {}", &reason[..begin], &reason[end..]),
        None => reason,
    }
}
