//! A network: points in a square, labelled by the side of its diagonal that they lie on.
//!
//! `cargo run --release --example network`

use interneuron::{Architecture, Context, Error, MatRef, Network, Update};

fn main() -> Result<(), Error> {
    let x: Vec<f32> = (0..128).map(|i| ((i * 37 + i / 2 * 5) % 64) as f32 / 64.0).collect();
    let labels: Vec<u32> = x.chunks(2).map(|point| u32::from(point[0] > point[1])).collect();
    let x = MatRef::new(&x, 64, 2)?;

    // Two inputs, 32 excitatory and 4 inhibitory hidden units, two outputs with one interneuron.
    let mut net: Network<f32> = Architecture::dann(&[2, 32, 2], &[4, 1])?.seed(1).build(&Context::new()?)?;
    for step in 0..=1000 {
        let loss = net.train_step(x, &labels, &Update::csgd(0.1))?;
        if step % 250 == 0 {
            println!("step {step}: loss {loss:.3}");
        }
    }
    let result = net.evaluate(x, &labels)?;
    println!("{} of {} wrong", result.errors, result.examples);
    Ok(())
}
