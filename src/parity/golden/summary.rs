//! A golden in a page of text: what a reviewer looks at when it changes.

use std::fmt::{self, Display};

use super::Golden;
use super::shown;
use crate::parity::capture::summary::Statistics;
use crate::parity::capture::{Tensor, Values};

/// Numbers of a tensor that are shown.
const SAMPLES: usize = 3;

impl Display for Golden {
    fn fmt(&self, page: &mut fmt::Formatter<'_>) -> fmt::Result {
        let manifest = &self.capture.manifest;
        let sizes = &manifest.sizes;
        writeln!(page, "engine     {}, {}", manifest.engine, manifest.taps)?;
        writeln!(page, "version    {}", manifest.engine_version)?;
        let digest = manifest.model_digest.get(..16).unwrap_or(&manifest.model_digest);
        writeln!(page, "model      {}, weights {} {digest}…", manifest.model, manifest.weights_dtype)?;
        let (layers, heads, width) = (sizes.n_layer, sizes.n_head, sizes.n_embd);
        let (context, vocabulary) = (sizes.n_ctx, sizes.vocab_size);
        writeln!(
            page,
            "sizes      {layers} layers, {heads} heads, width {width}, context {context}, vocabulary {vocabulary}"
        )?;
        writeln!(page, "computed   {}, profile {}", manifest.compute_dtype, manifest.tolerance_profile)?;
        writeln!(page, "tokens     {:?}", manifest.token_ids)?;
        writeln!(page, "generated  {:?}", manifest.generated_text)?;
        writeln!(page)?;
        writeln!(
            page,
            "{:20} {:12} {:>7} {:>11} {:>11} {:>11} {:>11}  first",
            "tensor", "shape", "kept", "min", "max", "mean", "l2"
        )?;
        self.capture.tensors.iter().try_for_each(|(name, tensor)| self.line(name, tensor, page))
    }
}

impl Golden {
    fn line(&self, name: &str, tensor: &Tensor, page: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.slices.get(name).map(|slices| &slices.of);
        let shape = shown(whole.map_or(&tensor.shape, |whole| &whole.shape));
        let kept = if whole.is_some() { tensor.count().to_string() } else { "all".to_owned() };
        write!(page, "{name:20} {shape:12} {kept:>7}")?;
        if let Values::I64(values) = &tensor.values {
            // Decisions: every one of them.
            return writeln!(page, " {values:?}");
        }
        let numbers = match whole {
            Some(whole) => [whole.min, whole.max, whole.mean, whole.l2],
            None => {
                let statistics = Statistics::of(tensor);
                [statistics.min, statistics.max, statistics.mean, statistics.l2].map(|number| number.as_f64())
            }
        };
        numbers.iter().try_for_each(|number| write!(page, " {:>11}", short(*number)))?;
        let samples: Vec<String> = tensor.to_f64().iter().take(SAMPLES).map(|number| short(*number)).collect();
        writeln!(page, "  {}", samples.join(" "))
    }
}

/// Four digits: the last ones differ between processors.
fn short(number: f64) -> String {
    format!("{number:.3e}")
}
