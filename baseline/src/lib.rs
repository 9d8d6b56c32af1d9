//! The same layers composed of plain matrix products (the `matrixmultiply` crate) and separate passes over memory.
//!
//! This is what one gets without fused kernels, written with care but in the ordinary way: every intermediate result
//! is an array, every gradient is stored, and the update is a pass of its own. It serves the benches as a baseline and
//! the tests as a second oracle. Arrays are contiguous and row-major, one thread computes, and nothing is allocated
//! after the first batch of a size.

use interneuron::{
    DannMut, DannRef, DannShape, DenseMut, DenseRef, DenseShape, Divisor, Element, Error, LayerShape, Nonlinearity,
    Params, ParamsRef, Update,
};

/// A matrix product as `matrixmultiply` has it: `m`, `k`, `n`, then `α`, `A`, `B`, `β` and `C` of `C ← α A B + β C`,
/// each matrix a pointer with the distances of its rows and of its columns.
pub type Product<T> =
    unsafe fn(usize, usize, usize, T, *const T, isize, isize, *const T, isize, isize, T, *mut T, isize, isize);

/// An element type with a matrix product in `matrixmultiply`.
pub trait Gemm: Element {
    /// The product.
    const PRODUCT: Product<Self>;
}

impl Gemm for f32 {
    const PRODUCT: Product<Self> = matrixmultiply::sgemm;
}

impl Gemm for f64 {
    const PRODUCT: Product<Self> = matrixmultiply::dgemm;
}

/// A matrix operand: an array, its stored columns, and whether it is used transposed.
#[derive(Clone, Copy)]
struct Operand<'a, T> {
    data: &'a [T],
    cols: usize,
    transposed: bool,
}

fn plain<T>(data: &[T], cols: usize) -> Operand<'_, T> {
    Operand { data, cols, transposed: false }
}

fn transposed<T>(data: &[T], cols: usize) -> Operand<'_, T> {
    Operand { data, cols, transposed: true }
}

impl<T> Operand<'_, T> {
    fn shape(&self) -> (usize, usize) {
        let (rows, cols) = (self.data.len() / self.cols, self.cols);
        assert_eq!(rows * cols, self.data.len(), "a whole number of rows");
        if self.transposed { (cols, rows) } else { (rows, cols) }
    }

    fn pointer(&self) -> (*const T, isize, isize) {
        let distance = self.cols as isize;
        if self.transposed { (self.data.as_ptr(), 1, distance) } else { (self.data.as_ptr(), distance, 1) }
    }
}

/// `C ← α A B + β C`, row-major.
fn product<T: Gemm>(alpha: T, a: Operand<'_, T>, b: Operand<'_, T>, beta: T, c: &mut [T]) {
    let ((m, k), (inner, n)) = (a.shape(), b.shape());
    assert_eq!(k, inner, "inner dimensions");
    assert_eq!(m.checked_mul(n), Some(c.len()), "length of the product");
    let ((a, row_a, col_a), (b, row_b, col_b)) = (a.pointer(), b.pointer());
    // SAFETY: the lengths were checked.
    unsafe { (T::PRODUCT)(m, k, n, alpha, a, row_a, col_a, b, row_b, col_b, beta, c.as_mut_ptr(), n as isize, 1) }
}

/// What was checked when a layer was made, or by `check`.
const VALID: &str = "a shape and arrays that were checked";

/// One layer: its scratch, gradients and output.
#[derive(Clone, Debug)]
pub struct Layer<T> {
    shape: LayerShape,
    a: Vec<T>,
    zi: Vec<T>,
    azi: Vec<T>,
    gamma: Vec<T>,
    zhat: Vec<T>,
    h: Vec<T>,
    du: Vec<T>,
    dgamma: Vec<T>,
    p: Vec<T>,
    q: Vec<T>,
    dx: Vec<T>,
    gradients: Params<T>,
}

impl<T: Gemm> Layer<T> {
    /// A layer of this shape.
    ///
    /// # Errors
    /// [`Error::Dimension`] if a dimension is zero or overflows, [`Error::TooLarge`] if an array does not fit in
    /// memory, [`Error::Unsupported`] for other layers than plain ones and those with inhibition.
    pub fn new(shape: impl Into<LayerShape>) -> Result<Self, Error> {
        let shape = shape.into();
        let known = matches!(shape, LayerShape::Dann(_) | LayerShape::Dense(DenseShape { columns: None, .. }));
        if !known || shape.divisor().is_some_and(|divisor| divisor != Divisor::Plain) {
            return Err(Error::Unsupported {
                what: "this kind of layer",
                expected: "a plain layer, or one with inhibition and a plain divisor",
            });
        }
        let gradients = Params::zeros(&shape)?;
        let [a, zi, azi, gamma, zhat, h, du, dgamma, p, q, dx] = [(); 11].map(|()| Vec::new());
        Ok(Self { shape, a, zi, azi, gamma, zhat, h, du, dgamma, p, q, dx, gradients })
    }

    fn check_params(&self, params: ParamsRef<'_, T>) {
        let schema = self.shape.schema().expect(VALID);
        let lens = schema.iter().map(|parameter| parameter.elements());
        assert!(params.iter().map(<[T]>::len).eq(lens), "parameters of the layer's shape");
    }

    fn check(&self, params: &ParamsRef<'_, T>, x: &[T]) {
        self.check_params(*params);
        assert!(!x.is_empty() && x.len().is_multiple_of(self.shape.inputs()), "x has {} elements", x.len());
        let batch = x.len() / self.shape.inputs();
        assert!(batch.checked_mul(self.shape.outputs()).is_some(), "a batch of {batch} does not fit in memory");
    }

    /// `h [B, ne]` of the last forward pass.
    pub fn h(&self) -> &[T] {
        &self.h
    }

    /// `dx [B, d]` of the last backward pass.
    pub fn dx(&self) -> &[T] {
        &self.dx
    }

    /// The gradients of the last backward pass.
    pub fn gradients(&self) -> ParamsRef<'_, T> {
        self.gradients.view()
    }

    /// From `x [B, d]` to [`Layer::h`].
    ///
    /// # Panics
    /// If an array has not the length or kind that the shape prescribes.
    pub fn forward(&mut self, params: ParamsRef<'_, T>, x: &[T]) {
        self.check(&params, x);
        match self.shape {
            LayerShape::Dann(shape) => self.forward_dann(shape, params.try_into().expect(VALID), x),
            LayerShape::Dense(shape) => self.forward_dense(shape, params.try_into().expect(VALID), x),
            _ => unreachable!("{VALID}"),
        }
    }

    fn forward_dense(&mut self, DenseShape { d, ne, nonlinearity, .. }: DenseShape, params: DenseRef<'_, T>, x: &[T]) {
        self.h.resize(x.len() / d * ne, T::ZERO);
        product(T::ONE, plain(x, d), transposed(params.w, d), T::ZERO, &mut self.h);
        for h in self.h.chunks_exact_mut(ne) {
            h.iter_mut().zip(params.b).for_each(|(h, &b)| *h = activate(nonlinearity, *h + b));
        }
    }

    fn forward_dann(&mut self, shape: DannShape, params: DannRef<'_, T>, x: &[T]) {
        let DannShape { d, ne, ni, nonlinearity, divisive, .. } = shape;
        let batch = x.len() / d;
        self.zi.resize(batch * ni, T::ZERO);
        self.zhat.resize(batch * ne, T::ZERO);
        self.h.resize(batch * ne, T::ZERO);
        product(T::ONE, plain(x, d), transposed(params.wix, d), T::ZERO, &mut self.zi);
        product(T::ONE, plain(x, d), transposed(params.wex, d), T::ZERO, &mut self.zhat);
        product(-T::ONE, plain(&self.zi, ni), transposed(params.wei, ni), T::ONE, &mut self.zhat);
        if !divisive {
            for (h, z) in self.h.chunks_exact_mut(ne).zip(self.zhat.chunks_exact(ne)) {
                for ((h, &z), &b) in h.iter_mut().zip(z).zip(params.b) {
                    *h = activate(nonlinearity, z + b);
                }
            }
            return;
        }
        self.azi.resize(batch * ni, T::ZERO);
        self.gamma.resize(batch * ne, T::ZERO);
        self.a.clear();
        self.a.extend(params.alpha.iter().map(|alpha| alpha.exp()));
        for (azi, zi) in self.azi.chunks_exact_mut(ni).zip(self.zi.chunks_exact(ni)) {
            azi.iter_mut().zip(zi).zip(&self.a).for_each(|((azi, &zi), &a)| *azi = a * zi);
        }
        product(T::ONE, plain(&self.azi, ni), transposed(params.wei, ni), T::ZERO, &mut self.gamma);
        let epsilon = T::from_f64(1e-8);
        let rows = self.h.chunks_exact_mut(ne).zip(self.zhat.chunks_exact_mut(ne)).zip(self.gamma.chunks_exact_mut(ne));
        for ((h, zhat), gamma) in rows {
            for i in 0..ne {
                gamma[i] = gamma[i] + epsilon;
                zhat[i] = zhat[i] / gamma[i];
                h[i] = activate(nonlinearity, params.g[i] * zhat[i] + params.b[i]);
            }
        }
    }

    /// From `dh [B, ne]` to [`Layer::gradients`] and, if wanted, [`Layer::dx`], after [`Layer::forward`] of the same
    /// `params` and `x`.
    ///
    /// # Panics
    /// If an array has not the length or kind that the shape prescribes.
    pub fn backward(&mut self, params: ParamsRef<'_, T>, x: &[T], dh: &[T], want_dx: bool) {
        self.check(&params, x);
        match self.shape {
            LayerShape::Dann(shape) => {
                self.backward_dann(shape, params.try_into().expect(VALID), x, dh, want_dx);
            }
            LayerShape::Dense(shape) => {
                self.backward_dense(shape, params.try_into().expect(VALID), x, dh, want_dx);
            }
            _ => unreachable!("{VALID}"),
        }
    }

    fn backward_dense(&mut self, shape: DenseShape, params: DenseRef<'_, T>, x: &[T], dh: &[T], want_dx: bool) {
        let DenseShape { d, ne, nonlinearity, .. } = shape;
        let gradients = DenseMut::try_from(self.gradients.view_mut()).expect(VALID);
        through_activation(nonlinearity, &self.h, dh, &mut self.du);
        sum_over_batch(&self.du, gradients.b);
        product(T::ONE, transposed(&self.du, ne), plain(x, d), T::ZERO, gradients.w);
        if want_dx {
            self.dx.resize(x.len(), T::ZERO);
            product(T::ONE, plain(&self.du, ne), plain(params.w, d), T::ZERO, &mut self.dx);
        }
    }

    fn backward_dann(&mut self, shape: DannShape, params: DannRef<'_, T>, x: &[T], dh: &[T], want_dx: bool) {
        let DannShape { d, ne, ni, nonlinearity, divisive, .. } = shape;
        let batch = x.len() / d;
        let gradients = DannMut::try_from(self.gradients.view_mut()).expect(VALID);
        through_activation(nonlinearity, &self.h, dh, &mut self.du);
        sum_over_batch(&self.du, gradients.b);
        self.p.resize(batch * ni, T::ZERO);
        if divisive {
            self.dgamma.resize(batch * ne, T::ZERO);
            self.q.resize(batch * ni, T::ZERO);
            gradients.g.fill(T::ZERO);
            for (row, du) in self.du.chunks_exact_mut(ne).enumerate() {
                let (zhat, gamma) = (&self.zhat[row * ne..][..ne], &self.gamma[row * ne..][..ne]);
                let dgamma = &mut self.dgamma[row * ne..][..ne];
                for i in 0..ne {
                    gradients.g[i] = gradients.g[i] + du[i] * zhat[i];
                    du[i] = du[i] * params.g[i] / gamma[i];
                    dgamma[i] = -du[i] * zhat[i];
                }
            }
        }
        product(-T::ONE, plain(&self.du, ne), plain(params.wei, ni), T::ZERO, &mut self.p);
        product(-T::ONE, transposed(&self.du, ne), plain(&self.zi, ni), T::ZERO, gradients.wei);
        if divisive {
            product(T::ONE, plain(&self.dgamma, ne), plain(params.wei, ni), T::ZERO, &mut self.q);
            product(T::ONE, transposed(&self.dgamma, ne), plain(&self.azi, ni), T::ONE, gradients.wei);
            gradients.alpha.fill(T::ZERO);
            for (row, p) in self.p.chunks_exact_mut(ni).enumerate() {
                let (q, azi) = (&self.q[row * ni..][..ni], &self.azi[row * ni..][..ni]);
                for i in 0..ni {
                    gradients.alpha[i] = gradients.alpha[i] + azi[i] * q[i];
                    p[i] = p[i] + self.a[i] * q[i];
                }
            }
        }
        let dzi = &self.p;
        product(T::ONE, transposed(&self.du, ne), plain(x, d), T::ZERO, gradients.wex);
        product(T::ONE, transposed(dzi, ni), plain(x, d), T::ZERO, gradients.wix);
        if want_dx {
            self.dx.resize(x.len(), T::ZERO);
            product(T::ONE, plain(&self.du, ne), plain(params.wex, d), T::ZERO, &mut self.dx);
            product(T::ONE, plain(dzi, ni), plain(params.wix, d), T::ONE, &mut self.dx);
        }
    }

    /// Applies the gradients of the last backward pass by projected descent, the only rule here.
    ///
    /// # Panics
    /// If an array has not the length or kind that the shape prescribes, or if the rule has further policies.
    pub fn update(&self, params: &mut Params<T>, update: &Update) {
        self.check_params(params.view());
        assert!(update.lr.is_finite() && update.lr >= 0.0, "lr is {}", update.lr);
        let Update { lr, corrections, factors, .. } = *update;
        assert_eq!(*update, Update { corrections, factors, ..Update::sgd(lr) }, "policies beside projected descent");
        let schema = self.shape.schema().expect(VALID);
        let arrays = params.view_mut().into_iter().zip(self.gradients.view().iter());
        for (parameter, (params, gradients)) in schema.iter().zip(arrays) {
            let correction = if corrections { parameter.correction } else { 1.0 };
            let low = if parameter.signed { T::NEG_INFINITY } else { T::ZERO };
            subtract(params, gradients, T::from_f64(lr * factors[parameter.role] * correction), low);
        }
    }
}

fn activate<T: Element>(nonlinearity: Nonlinearity, z: T) -> T {
    if nonlinearity == Nonlinearity::Relu && z < T::ZERO { T::ZERO } else { z }
}

fn through_activation<T: Element>(nonlinearity: Nonlinearity, h: &[T], dh: &[T], dz: &mut Vec<T>) {
    assert_eq!(h.len(), dh.len(), "length of dh");
    dz.resize(dh.len(), T::ZERO);
    let passes = |h| nonlinearity == Nonlinearity::Identity || h > T::ZERO;
    for ((dz, &dh), &h) in dz.iter_mut().zip(dh).zip(h) {
        // An output of ReLU that is not above zero is zero or NaN.
        *dz = if passes(h) { dh } else { h };
    }
}

fn sum_over_batch<T: Element>(values: &[T], sums: &mut [T]) {
    sums.fill(T::ZERO);
    for row in values.chunks_exact(sums.len()) {
        sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum = *sum + value);
    }
}

fn subtract<T: Element>(params: &mut [T], gradients: &[T], scale: T, low: T) {
    for (param, &gradient) in params.iter_mut().zip(gradients) {
        let next = *param - scale * gradient;
        *param = if next < low { low } else { next };
    }
}

/// A network of such layers.
#[derive(Clone, Debug)]
pub struct Network<T> {
    layers: Vec<Layer<T>>,
    params: Vec<Params<T>>,
    dlogits: Vec<T>,
}

impl<T: Gemm> Network<T> {
    /// A network with these shapes and parameters.
    ///
    /// # Errors
    /// [`Error::Kind`], [`Error::Length`] or [`Error::Value`] if parameters do not fit their shape.
    pub fn new(layers: impl IntoIterator<Item = (LayerShape, Params<T>)>) -> Result<Self, Error> {
        let mut net = Self { layers: vec![], params: vec![], dlogits: vec![] };
        for (shape, params) in layers {
            params.view().validate(&shape)?;
            net.layers.push(Layer::new(shape)?);
            net.params.push(params);
        }
        Ok(net)
    }

    /// The parameters of the layers.
    pub fn params(&self) -> &[Params<T>] {
        &self.params
    }

    /// From `x [B, inputs]` to the logits `[B, classes]`.
    ///
    /// # Panics
    /// If `x` is not a whole number of examples.
    pub fn forward(&mut self, x: &[T]) -> &[T] {
        for k in 0..self.layers.len() {
            let (below, here) = self.layers.split_at_mut(k);
            here[0].forward(self.params[k].view(), below.last().map_or(x, |below| &below.h));
        }
        self.layers.last().map_or(&[], |last| &last.h)
    }

    /// One step of training on `x [B, inputs]` with `labels [B]`; returns the loss before the update.
    ///
    /// # Panics
    /// If `x` is not a whole number of examples, if there is not one label for each or one names no class, or if the
    /// update cannot be used.
    pub fn train_step(&mut self, x: &[T], labels: &[u32], update: &Update) -> f64 {
        self.forward(x);
        let (inputs, classes) = (self.layers[0].shape.inputs(), self.layers[self.layers.len() - 1].shape.outputs());
        assert_eq!(labels.len(), x.len() / inputs, "labels");
        assert!(labels.iter().all(|&label| (label as usize) < classes), "a label names no class");
        let loss = self.loss(labels);
        for k in (0..self.layers.len()).rev() {
            let (below, here) = self.layers.split_at_mut(k);
            let (here, above) = here.split_at_mut(1);
            let x = below.last().map_or(x, |below| &below.h);
            let dh = above.first().map_or(&self.dlogits, |above| &above.dx);
            here[0].backward(self.params[k].view(), x, dh, k > 0);
        }
        for (layer, params) in self.layers.iter().zip(&mut self.params) {
            layer.update(params, update);
        }
        loss
    }

    fn loss(&mut self, labels: &[u32]) -> f64 {
        let logits = self.layers.last().map_or(&[][..], |last| &last.h);
        let classes = logits.len() / labels.len();
        let per_example = T::ONE / T::from_f64(labels.len() as f64);
        self.dlogits.resize(logits.len(), T::ZERO);
        let mut loss = 0.0;
        let rows = logits.chunks_exact(classes).zip(self.dlogits.chunks_exact_mut(classes));
        for ((logits, gradient), &label) in rows.zip(labels) {
            let largest = logits.iter().copied().fold(T::NEG_INFINITY, |m, logit| if logit > m { logit } else { m });
            gradient.iter_mut().zip(logits).for_each(|(power, &logit)| *power = (logit - largest).exp());
            let sum = gradient.iter().copied().fold(T::ZERO, |sum, power| sum + power);
            loss += sum.to_f64().ln() + (largest - logits[label as usize]).to_f64();
            gradient.iter_mut().for_each(|power| *power = *power / sum * per_example);
            gradient[label as usize] = gradient[label as usize] - per_example;
        }
        loss / labels.len() as f64
    }
}
