//! An update of your own: all gradients are handed out, and what becomes of them is up to you. Here each weight moves
//! by the sign of its gradient, and those that must not be negative stay so.
//!
//! `cargo run --release --example own_update`

use interneuron::{Architecture, Context, Error, MatRef, Network};

fn main() -> Result<(), Error> {
    let x: Vec<f32> = (0..128).map(|i| ((i * 37 + i / 2 * 5) % 64) as f32 / 64.0).collect();
    let labels: Vec<u32> = x.chunks(2).map(|point| u32::from(point[0] > point[1])).collect();
    let x = MatRef::new(&x, 64, 2)?;
    let mut net: Network<f32> = Architecture::dann(&[2, 32, 2], &[4, 1])?.seed(1).build(&Context::new()?)?;
    let mut gradients = net.zero_gradients()?;
    for step in 0..=200 {
        let loss = net.gradients(x, &labels, &mut gradients)?;
        if step % 50 == 0 {
            println!("step {step}: loss {loss:.3}");
        }
        for (k, gradients) in gradients.iter().enumerate() {
            let mut params = net.params().nth(k).expect("a layer for each gradient").clone();
            for name in ["Wex", "b"] {
                let both = params[name].iter_mut().zip(&gradients[name]);
                both.for_each(|(w, gradient)| *w -= 0.001 * gradient.signum());
            }
            params["Wex"].iter_mut().for_each(|w| *w = w.max(0.0));
            net.set_params(k, params)?;
        }
    }
    Ok(())
}
