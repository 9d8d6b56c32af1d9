//! A layer on arrays of your own, which the kernels read and change in place: it learns to give back a target.
//!
//! `cargo run --release --example layer`

use interneuron::{Context, DannShape, Error, Init, Layer, MatMut, MatRef, State, Tape, Update, generator};

fn main() -> Result<(), Error> {
    const BATCH: usize = 32;
    let shape = DannShape::new(20, 30, 3); // inputs, excitatory units, interneurons
    let mut params = Init::first().draw_dann::<f32>(&shape, &mut generator(1))?;
    let layer = Layer::new(shape, &Context::new()?)?;
    let (mut tape, mut state) = (Tape::new(), State::new());
    let x: Vec<f32> = (0..BATCH * 20).map(|i| (i * i % 101) as f32 / 101.0).collect();
    let target: Vec<f32> = (0..BATCH * 30).map(|i| (i * 7 % 13) as f32 / 13.0).collect();
    let x = MatRef::new(&x, BATCH, 20)?;
    let (mut h, mut dh) = (vec![0.0; BATCH * 30], vec![0.0; BATCH * 30]);
    for step in 0..=200 {
        layer.forward(params.view(), &mut tape, x, MatMut::new(&mut h, BATCH, 30)?)?;
        // The loss is |h − target|² / 2, averaged over the batch; dh is its gradient.
        let loss: f32 = h.iter().zip(&target).map(|(h, target)| (h - target).powi(2)).sum::<f32>() / 2.0 / BATCH as f32;
        dh.iter_mut().zip(&h).zip(&target).for_each(|((dh, h), target)| *dh = (h - target) / BATCH as f32);
        if step % 50 == 0 {
            println!("step {step}: loss {loss:.4}");
        }
        let dh = MatRef::new(&dh, BATCH, 30)?;
        layer.update(params.view_mut(), &mut state, &mut tape, dh, &Update::csgd(0.05), None)?;
    }
    Ok(())
}
