//! What is made of gate and up.

use super::super::projection::erf;
use super::{Faulty, Here};
use crate::layers::Station;
use crate::model::ModelError;
use crate::parity::faults::Fault;
use crate::parity::oracle::{Tensor, silu};

/// What stands in the place of silu(gate) · up: [T, inner]
pub fn product(here: Here<'_>, pass: &Faulty<'_>) -> Result<Tensor, ModelError> {
    let (gate, up) = (pass.get(Station::Gate, here.layer)?, pass.get(Station::Up, here.layer)?);
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let tanh = |x: f64| (std::f64::consts::FRAC_2_PI.sqrt() * (x + 0.044715 * x.powi(3))).tanh();
    let gelu = here.variant(Fault::GeluGate);
    let made = |(gate, up): (&f64, &f64)| {
        let (gate, up) = (*gate, *up);
        match gelu {
            Some(0) => 0.5 * gate * (1.0 + erf(gate * std::f64::consts::FRAC_1_SQRT_2)) * up,
            Some(1) => 0.5 * gate * (1.0 + tanh(gate)) * up,
            Some(_) => gate * sigmoid(1.702 * gate) * up,
            None if here.has(Fault::UpActivated) => gate * silu(up),
            None if here.has(Fault::ReluGate) => gate.max(0.0) * up,
            None if here.has(Fault::SigmoidGate) => sigmoid(gate) * up,
            None if here.has(Fault::SiluMissing) => gate * up,
            None if here.has(Fault::UpMissing) => silu(gate),
            None if here.has(Fault::ProductActivated) => silu(gate * up),
            None => silu(gate) * up,
        }
    };
    Ok(Tensor { shape: up.shape.clone(), values: gate.values.iter().zip(&up.values).map(made).collect() })
}
