//! Where the parameters of layers and networks are: with the handle, or in a caller's arrays.

use crate::arguments::{Arguments, Checked, Input, Output};
use crate::arrays::{self, Located, Places, Pointers};
use crate::status::{Failure, INTERNEURON_WRONG_ORDER, Outcome};
use interneuron::{Element, NetworkParams, NetworkParamsMut, Params, ParamsMut, ParamsRef, Plan, Schema};

/// The parameters of a layer.
pub enum Held<T> {
    /// Neither drawn, nor copied in, nor attached.
    None,
    Own(Params<T>),
    Attached(Attached),
}

/// Arrays that the caller keeps alive.
pub struct Attached(pub Pointers);

// SAFETY: addresses; by the contract of the header, a call with the layer may use what they point to.
unsafe impl Send for Attached {}

/// Parameters that a call reads.
pub enum Reading<'p, T> {
    Own(&'p Params<T>),
    Attached(Places<Input<T>>),
}

/// Parameters that a call changes.
pub enum Writing<'p, T> {
    Own(&'p mut Params<T>),
    Attached(Places<Output<T>>),
}

/// Why a layer without parameters refuses a call that needs them.
pub fn missing() -> Failure {
    let text = "the layer has no parameters: expected interneuron_layer_init, interneuron_layer_attach or \
                interneuron_layer_set_parameters before";
    Failure::new(INTERNEURON_WRONG_ORDER, text)
}

impl<T: Element> Held<T> {
    /// Announces attached arrays, for calls that do not use them.
    pub fn announce(&self, arguments: &mut Arguments, lengths: &Places<usize>) -> Outcome {
        match self {
            Self::None => Ok(()),
            _ => self.read(arguments, lengths).map(|_| ()),
        }
    }

    pub fn read(&self, arguments: &mut Arguments, lengths: &Places<usize>) -> Outcome<Reading<'_, T>> {
        match self {
            Self::None => Err(missing()),
            Self::Own(params) => Ok(Reading::Own(params)),
            Self::Attached(Attached(pointers)) => {
                Ok(Reading::Attached(Located::attached(None, pointers, lengths).read(arguments)?))
            }
        }
    }

    pub fn write(&mut self, arguments: &mut Arguments, lengths: &Places<usize>) -> Outcome<Writing<'_, T>> {
        match self {
            Self::None => Err(missing()),
            Self::Own(params) => Ok(Writing::Own(params)),
            Self::Attached(Attached(pointers)) => {
                Ok(Writing::Attached(Located::attached(None, pointers, lengths).write(arguments)?))
            }
        }
    }

    /// Makes these the parameters: in the attached arrays, or else as the layer's own.
    ///
    /// # Safety
    /// As [`Output::slice`], for attached arrays.
    pub unsafe fn replace(&mut self, arguments: Arguments, schema: &Schema, new: Params<T>) -> Outcome {
        if let Self::Attached(Attached(pointers)) = self {
            // SAFETY: as demanded here.
            unsafe { copy_in(arguments, schema, (None, pointers), &new) }
        } else {
            *self = Self::Own(new);
            Ok(())
        }
    }
}

/// Copies parameters into the attached arrays of a layer.
///
/// # Safety
/// As [`Output::slice`].
unsafe fn copy_in<T: Element>(
    mut arguments: Arguments,
    schema: &Schema,
    (layer, pointers): (Option<usize>, &Pointers),
    new: &Params<T>,
) -> Outcome {
    let outputs = Located::attached(layer, pointers, &arrays::lengths(schema)).write(&mut arguments)?;
    let checked = arguments.check()?;
    // SAFETY: as demanded here.
    unsafe { arrays::copy_out(outputs.map(Some), arrays::places(schema, new.view()), &checked) };
    Ok(())
}

impl<T: Element> Reading<'_, T> {
    /// # Safety
    /// As [`Input::slice`], for attached arrays.
    pub unsafe fn view<'a>(&'a self, schema: &Schema, checked: &'a Checked) -> Outcome<ParamsRef<'a, T>> {
        Ok(match self {
            Self::Own(params) => params.view(),
            // SAFETY: as demanded here.
            Self::Attached(inputs) => arrays::view(schema, unsafe { arrays::slices(*inputs, checked) })?,
        })
    }
}

impl<'p, T: Element> Writing<'p, T> {
    /// # Safety
    /// As [`Output::slice`], for attached arrays.
    pub unsafe fn view<'a>(self, schema: &Schema, checked: &'a Checked) -> Outcome<ParamsMut<'a, T>>
    where
        'p: 'a,
    {
        Ok(match self {
            Self::Own(params) => params.view_mut(),
            // SAFETY: as demanded here.
            Self::Attached(outputs) => arrays::view_mut(schema, unsafe { arrays::slices_mut(outputs, checked) })?,
        })
    }
}

/// The parameters of a network, one element for each layer.
pub enum HeldByAll<T> {
    Own(Vec<Params<T>>),
    Attached(Vec<Attached>),
}

/// As [`Reading`], of all layers.
pub enum ReadingAll<'p, T> {
    Own(&'p [Params<T>]),
    Attached(Vec<Places<Input<T>>>),
}

/// As [`Writing`], of all layers.
pub enum WritingAll<'p, T> {
    Own(&'p mut [Params<T>]),
    Attached(Vec<Places<Output<T>>>),
}

/// Parameters as a plan reads them.
pub enum Views<'a, T> {
    Own(&'a [Params<T>]),
    Attached(Vec<ParamsRef<'a, T>>),
}

/// Parameters as a plan changes them.
pub enum ViewsMut<'a, T> {
    Own(&'a mut [Params<T>]),
    Attached(Vec<ParamsMut<'a, T>>),
}

impl<T: Element> HeldByAll<T> {
    pub fn read(&self, arguments: &mut Arguments, lengths: &[Places<usize>]) -> Outcome<ReadingAll<'_, T>> {
        Ok(match self {
            Self::Own(params) => ReadingAll::Own(params),
            Self::Attached(layers) => {
                let layers = layers.iter().zip(lengths).enumerate();
                let read = |(k, (attached, lengths)): (usize, (&Attached, _))| {
                    Located::attached(Some(k), &attached.0, lengths).read(arguments)
                };
                ReadingAll::Attached(layers.map(read).collect::<Outcome<_>>()?)
            }
        })
    }

    pub fn write(&mut self, arguments: &mut Arguments, lengths: &[Places<usize>]) -> Outcome<WritingAll<'_, T>> {
        Ok(match self {
            Self::Own(params) => WritingAll::Own(params),
            Self::Attached(layers) => {
                let layers = layers.iter().zip(lengths).enumerate();
                let write = |(k, (attached, lengths)): (usize, (&Attached, _))| {
                    Located::attached(Some(k), &attached.0, lengths).write(arguments)
                };
                WritingAll::Attached(layers.map(write).collect::<Outcome<_>>()?)
            }
        })
    }

    /// Makes these the parameters of layer `k`.
    ///
    /// # Safety
    /// As [`Output::slice`], for attached arrays.
    pub unsafe fn replace(&mut self, arguments: Arguments, k: usize, schema: &Schema, new: Params<T>) -> Outcome {
        match self {
            Self::Own(params) => params[k] = new,
            // SAFETY: as demanded here.
            Self::Attached(layers) => unsafe { copy_in(arguments, schema, (Some(k), &layers[k].0), &new) }?,
        }
        Ok(())
    }
}

impl<'p, T: Element> ReadingAll<'p, T> {
    /// Those of layer `k` alone.
    pub fn layer(&self, k: usize) -> Reading<'p, T> {
        match self {
            Self::Own(params) => Reading::Own(&params[k]),
            Self::Attached(layers) => Reading::Attached(layers[k]),
        }
    }

    /// # Safety
    /// As [`Input::slice`], for attached arrays.
    pub unsafe fn views<'a>(&'a self, plan: &Plan<T>, checked: &'a Checked) -> Outcome<Views<'a, T>> {
        Ok(match self {
            Self::Own(params) => Views::Own(params),
            Self::Attached(layers) => {
                let layers = plan.schemas().zip(layers);
                // SAFETY: as demanded here.
                let view = |(schema, inputs): (_, &Places<_>)| unsafe {
                    Ok(arrays::view(schema, arrays::slices(*inputs, checked))?)
                };
                Views::Attached(layers.map(view).collect::<Outcome<_>>()?)
            }
        })
    }
}

impl<'p, T: Element> WritingAll<'p, T> {
    /// # Safety
    /// As [`Output::slice`], for attached arrays.
    pub unsafe fn views<'a>(self, plan: &Plan<T>, checked: &'a Checked) -> Outcome<ViewsMut<'a, T>>
    where
        'p: 'a,
    {
        Ok(match self {
            Self::Own(params) => ViewsMut::Own(params),
            Self::Attached(layers) => {
                let layers = plan.schemas().zip(layers);
                // SAFETY: as demanded here.
                let view =
                    |(schema, outputs)| unsafe { Ok(arrays::view_mut(schema, arrays::slices_mut(outputs, checked))?) };
                ViewsMut::Attached(layers.map(view).collect::<Outcome<_>>()?)
            }
        })
    }
}

impl<T: Element> Views<'_, T> {
    pub fn params(&self) -> NetworkParams<'_, T> {
        match self {
            Self::Own(params) => (*params).into(),
            Self::Attached(layers) => layers.into(),
        }
    }
}

impl<'a, T: Element> ViewsMut<'a, T> {
    pub fn params(&mut self) -> NetworkParamsMut<'_, 'a, T> {
        match self {
            Self::Own(params) => (&mut **params).into(),
            Self::Attached(layers) => layers.into(),
        }
    }
}
