//! The arrays of a layer of any kind: owned, or views of a caller's.

pub(crate) mod arrays;
pub(crate) mod network;
pub(crate) mod schema;

use crate::element::Element;
use crate::error::{Error, length, values};
use schema::{MOST_ARRAYS, Names, Parameter, Schema, Shape};
use std::ops::{Index, IndexMut};

/// The arrays of a layer: its parameters, or a gradient for each of them. Found by their names as in the equations, or
/// taken one after the other.
///
/// ```
/// use interneuron::{DannShape, Params};
///
/// let mut params = Params::<f32>::zeros(&DannShape::new(3, 4, 2))?;
/// params["b"].fill(0.5);
/// assert_eq!((params["Wex"].len(), params["b"][3]), (12, 0.5));
/// # Ok::<(), interneuron::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Params<T> {
    names: &'static Names,
    arrays: Vec<Vec<T>>,
}

/// Arrays of a layer that are read.
#[derive(Debug)]
pub struct ParamsRef<'a, T> {
    names: &'static Names,
    arrays: [&'a [T]; MOST_ARRAYS],
}

/// Arrays of a layer that are written: parameters to update, or gradients to fill.
#[derive(Debug)]
pub struct ParamsMut<'a, T> {
    names: &'static Names,
    arrays: [&'a mut [T]; MOST_ARRAYS],
}

impl<T: Element> Params<T> {
    /// Arrays of zeros.
    ///
    /// # Errors
    /// [`Error::Dimension`] if a dimension is zero or overflows, [`Error::TooLarge`] if an array does not fit in
    /// memory.
    pub fn zeros(shape: &impl Shape) -> Result<Self, Error> {
        Self::zeros_where(&shape.schema()?, |_| true)
    }

    /// Arrays of zeros for some parameters, empty ones for the others.
    pub(crate) fn zeros_where(schema: &Schema, wanted: impl Fn(&Parameter) -> bool) -> Result<Self, Error> {
        Self::zeros_sized(schema, |parameter| if wanted(parameter) { parameter.elements() } else { 0 })
    }

    /// So many zeros for each parameter.
    pub(crate) fn zeros_sized(schema: &Schema, len: impl Fn(&Parameter) -> usize) -> Result<Self, Error> {
        let array = |parameter: &Parameter| zeros(len(parameter));
        Ok(Self { names: schema.names, arrays: schema.iter().map(array).collect::<Result<_, _>>()? })
    }
}

impl<T> Params<T> {
    pub(crate) fn of(names: &'static Names, arrays: Vec<Vec<T>>) -> Self {
        assert_eq!(names.arrays.len(), arrays.len(), "arrays of a {} layer", names.kind);
        Self { names, arrays }
    }

    pub(crate) fn names(&self) -> &'static Names {
        self.names
    }

    /// The same arrays with the names of the layer that they are to be of.
    pub(crate) fn renamed(self, names: &'static Names) -> Self {
        Self { names, ..self }
    }

    pub(crate) fn into_arrays(self) -> Vec<Vec<T>> {
        self.arrays
    }

    /// Array `i` in the order of the schema.
    pub(crate) fn array_mut(&mut self, i: usize) -> &mut [T] {
        &mut self.arrays[i]
    }

    /// A view for reading.
    pub fn view(&self) -> ParamsRef<'_, T> {
        ParamsRef::of(self.names, self.arrays.iter().map(|array| &array[..]))
    }

    /// A view for writing.
    pub fn view_mut(&mut self) -> ParamsMut<'_, T> {
        ParamsMut::of(self.names, self.arrays.iter_mut().map(|array| &mut array[..]))
    }

    /// The arrays with their names, in their order. Those that a variant of the layer does not have are empty.
    pub fn arrays(&self) -> Vec<(&'static str, &[T])> {
        self.view().arrays()
    }

    /// Checks that they can be the parameters of a layer: see [`ParamsRef::validate`].
    ///
    /// # Errors
    /// As [`ParamsRef::validate`].
    pub fn validate(&self, shape: &impl Shape) -> Result<(), Error>
    where
        T: Element,
    {
        self.view().validate(shape)
    }

    /// The array of a name, if the layer has one.
    pub fn get(&self, name: &str) -> Option<&[T]> {
        position(self.names, name).map(|i| &self.arrays[i][..])
    }

    /// The array of a name, if the layer has one.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut [T]> {
        position(self.names, name).map(|i| &mut self.arrays[i][..])
    }
}

impl<'a, T> From<&'a Params<T>> for ParamsRef<'a, T> {
    fn from(params: &'a Params<T>) -> Self {
        params.view()
    }
}

impl<'a, T> From<&'a mut Params<T>> for ParamsMut<'a, T> {
    fn from(params: &'a mut Params<T>) -> Self {
        params.view_mut()
    }
}

fn position(names: &Names, name: &str) -> Option<usize> {
    names.arrays.iter().position(|&array| array == name)
}

/// # Panics
/// If the layer has no array of that name.
impl<T> Index<&str> for Params<T> {
    type Output = [T];

    fn index(&self, name: &str) -> &[T] {
        self.get(name).unwrap_or_else(|| no_array(self.names, name))
    }
}

/// # Panics
/// If the layer has no array of that name.
impl<T> IndexMut<&str> for Params<T> {
    fn index_mut(&mut self, name: &str) -> &mut [T] {
        let names = self.names;
        self.get_mut(name).unwrap_or_else(|| no_array(names, name))
    }
}

fn no_array(names: &Names, name: &str) -> ! {
    panic!("no array {name:?}: a {} layer has {}", names.kind, names.arrays.join(", "))
}

impl<T> Clone for ParamsRef<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for ParamsRef<'_, T> {}

impl<'a, T> ParamsRef<'a, T> {
    /// A caller's arrays, in the order of a layer's schema; empty where a variant of the layer does not have one.
    ///
    /// # Errors
    /// [`Error::Length`] if there are more or fewer arrays than the schema has, or one has not the length that it says.
    pub fn new(schema: &Schema, arrays: impl IntoIterator<Item = &'a [T]>) -> Result<Self, Error> {
        let mut count = 0;
        let params = Self::of(schema.names, arrays.into_iter().inspect(|_| count += 1));
        length("arrays", count, schema.len())?;
        params.check(schema).map(|()| params)
    }

    pub(crate) fn of(names: &'static Names, from: impl IntoIterator<Item = &'a [T]>) -> Self {
        let mut arrays: [&[T]; MOST_ARRAYS] = [&[]; MOST_ARRAYS];
        arrays.iter_mut().zip(from).for_each(|(to, from)| *to = from);
        Self { names, arrays }
    }

    pub(crate) fn names(&self) -> &'static Names {
        self.names
    }

    /// The arrays in the order of the schema. Those that a variant of the layer does not have are empty.
    pub fn iter(self) -> impl ExactSizeIterator<Item = &'a [T]> {
        self.arrays.into_iter().take(self.names.arrays.len())
    }

    /// A copy of the arrays.
    pub fn to_owned(&self) -> Params<T>
    where
        T: Clone,
    {
        Params::of(self.names, self.iter().map(<[T]>::to_vec).collect())
    }

    /// The array of a name, if the layer has one.
    pub fn get(&self, name: &str) -> Option<&'a [T]> {
        position(self.names, name).map(|i| self.arrays[i])
    }

    /// The arrays with their names, in their order. Those that a variant of the layer does not have are empty.
    pub fn arrays(&self) -> Vec<(&'static str, &'a [T])> {
        self.names.arrays.iter().copied().zip(self.iter()).collect()
    }

    /// Checks kind and lengths.
    pub(crate) fn check(&self, schema: &Schema) -> Result<(), Error> {
        if self.names.kind != schema.names.kind {
            return Err(Error::Kind { expected: schema.names.kind });
        }
        let mut arrays = schema.iter().zip(self.iter());
        arrays.try_for_each(|(parameter, array)| length(parameter.name, array.len(), parameter.elements()))
    }

    /// Checks that the arrays can be a layer's parameters: kind, lengths, finite values, and no negative values where
    /// the sign is kept.
    ///
    /// # Errors
    /// [`Error::Kind`], [`Error::Length`] or [`Error::Value`]; [`Error::Dimension`] if the shape itself is impossible.
    pub fn validate(&self, shape: &impl Shape) -> Result<(), Error>
    where
        T: Element,
    {
        self.check_values(&shape.schema()?)
    }

    /// Checks kind, lengths and values.
    pub(crate) fn check_values(&self, schema: &Schema) -> Result<(), Error>
    where
        T: Element,
    {
        self.check(schema)?;
        let mut arrays = schema.iter().zip(self.iter());
        arrays.try_for_each(|(parameter, array)| {
            values(parameter.name, array.iter().map(|value| value.to_f64()), parameter.signed)?;
            let own = array.iter().enumerate().filter(|_| parameter.zero_diagonal);
            match own.step_by(parameter.dimensions().last().map_or(1, |cols| cols + 1)).find(|(_, w)| **w != T::ZERO) {
                None => Ok(()),
                Some((index, value)) => {
                    let expected = "0, as no unit has a connection to itself";
                    Err(Error::Value { name: parameter.name, index, value: value.to_f64(), expected })
                }
            }
        })
    }
}

/// # Panics
/// If the layer has no array of that name.
impl<T> Index<&str> for ParamsRef<'_, T> {
    type Output = [T];

    fn index(&self, name: &str) -> &[T] {
        self.get(name).unwrap_or_else(|| no_array(self.names, name))
    }
}

impl<T: PartialEq> PartialEq for ParamsRef<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        self.names == other.names && self.iter().eq(other.iter())
    }
}

impl<'a, T> ParamsMut<'a, T> {
    /// A caller's arrays, in the order of a layer's schema; empty where a variant of the layer does not have one.
    ///
    /// # Errors
    /// [`Error::Length`] if there are more or fewer arrays than the schema has, or one has not the length that it says.
    pub fn new(schema: &Schema, arrays: impl IntoIterator<Item = &'a mut [T]>) -> Result<Self, Error> {
        let mut count = 0;
        let params = Self::of(schema.names, arrays.into_iter().inspect(|_| count += 1));
        length("arrays", count, schema.len())?;
        params.view().check(schema).map(|()| params)
    }

    pub(crate) fn of(names: &'static Names, from: impl IntoIterator<Item = &'a mut [T]>) -> Self {
        let mut from = from.into_iter();
        Self { names, arrays: std::array::from_fn(|_| from.next().unwrap_or_default()) }
    }

    pub(crate) fn names(&self) -> &'static Names {
        self.names
    }

    /// The arrays in the order of the schema. Those that a variant of the layer does not have are empty.
    #[expect(clippy::should_implement_trait, reason = "the iterator's type has no name")]
    pub fn into_iter(self) -> impl Iterator<Item = &'a mut [T]> {
        self.arrays.into_iter().take(self.names.arrays.len())
    }

    /// How many elements array `i` has, in the order of the schema.
    pub(crate) fn len(&self, i: usize) -> usize {
        self.arrays[i].len()
    }

    /// Array `i` in the order of the schema.
    pub(crate) fn array_mut(&mut self, i: usize) -> &mut [T] {
        self.arrays[i]
    }

    /// The arrays with their names, in their order. Those that a variant of the layer does not have are empty.
    pub fn arrays(self) -> Vec<(&'static str, &'a mut [T])> {
        self.names.arrays.iter().copied().zip(self.into_iter()).collect()
    }

    /// A view for reading.
    pub fn view(&self) -> ParamsRef<'_, T> {
        ParamsRef::of(self.names, self.arrays.iter().map(|array| &**array))
    }

    /// A view for writing, for a shorter time.
    pub fn view_mut(&mut self) -> ParamsMut<'_, T> {
        ParamsMut::of(self.names, self.arrays.iter_mut().map(|array| &mut **array))
    }
}

/// An array of `value(0)`, `value(1)`, …, or an error if there is no memory for it.
pub(crate) fn array<T: Element>(len: usize, mut value: impl FnMut(usize) -> f64) -> Result<Vec<T>, Error> {
    collected(len, |i| T::from_f64(value(i)))
}

/// The same of anything.
pub(crate) fn collected<A>(len: usize, value: impl FnMut(usize) -> A) -> Result<Vec<A>, Error> {
    let mut array = Vec::new();
    array.try_reserve_exact(len).map_err(|_| Error::TooLarge { elements: len })?;
    array.extend((0..len).map(value));
    Ok(array)
}

/// An array of zeros, or an error if there is no memory for it.
fn zeros<T: Element>(len: usize) -> Result<Vec<T>, Error> {
    array(len, |_| 0.0)
}
