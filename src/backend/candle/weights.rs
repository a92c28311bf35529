//! From what a file stores to tensors on the device: dense ones in f32, quantised matrices in their own blocks.

use std::borrow::Cow;
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QTensor, ggml_file::qtensor_from_ggml};
use candle_core::{Device, Module, Result as CandleResult, Tensor};

use crate::model::ModelError;
use crate::model::configuration::HEAD;
use crate::model::digest::values_digest;
use crate::model::error::Problem;
use crate::model::weights::element::Element;
use crate::model::weights::{StoredWeight, StoredWeights};

/// x · W, with or without a bias.
pub struct Linear {
    weight: Matrix,
    bias: Option<Tensor>, // [out]
}

enum Matrix {
    /// [in, out], in whichever order it lies.
    Dense(Tensor),
    /// [out, in], in blocks: the activations are quantised to 8 bits for each product, as llama.cpp does.
    Quantised(QMatMul),
}

impl Linear {
    /// x: [T, in] → [T, out]
    pub fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        let product = match &self.weight {
            Matrix::Dense(weight) => x.matmul(weight)?,
            Matrix::Quantised(weight) => weight.forward(&x.contiguous()?)?,
        };
        match &self.bias {
            Some(bias) => product.broadcast_add(bias),
            None => Ok(product),
        }
    }
}

/// A row for each token: [V, C].
pub enum Embedding {
    Dense(Tensor),
    Quantised(Arc<QTensor>),
}

impl Embedding {
    /// tokens: [T] → [T, C]
    pub fn forward(&self, tokens: &Tensor) -> CandleResult<Tensor> {
        match self {
            Embedding::Dense(rows) => rows.index_select(tokens, 0),
            Embedding::Quantised(rows) => rows.embedding(tokens),
        }
    }

    /// x · Eᵀ, in the same memory.
    fn tied_head(&self) -> CandleResult<Matrix> {
        Ok(match self {
            Embedding::Dense(rows) => Matrix::Dense(rows.t()?),
            Embedding::Quantised(rows) => Matrix::Quantised(QMatMul::from_arc(rows.clone())?),
        })
    }
}

/// How a matrix of a linear layer lies under Hugging Face's name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// [in, out]: GPT-2's Conv1D.
    InOut,
    /// [out, in]
    OutIn,
}

pub struct Loader<'a> {
    weights: &'a StoredWeights,
    device: &'a Device,
    bytes: u64,
    /// Say in the log what each tensor is once it is on the device.
    digest: bool,
}

impl<'a> Loader<'a> {
    pub fn new(weights: &'a StoredWeights, device: &'a Device, digest: bool) -> Self {
        Self { weights, device, bytes: 0, digest }
    }

    /// Bytes brought to the device so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn device(&self) -> &Device {
        self.device
    }

    /// In f32, in Hugging Face's shape.
    pub fn dense(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let stored = self.weights.get(name, shape)?;
        let decoded = stored.decode().map_err(|problem| self.problem(problem))?;
        let tensor = Tensor::from_slice(decoded.values(), shape, self.device);
        let tensor = tensor.map_err(|error| self.problem(on_device(name, &error)))?;
        self.bytes += 4 * decoded.values().len() as u64;
        drop(decoded);
        stored.release();
        self.tell(name, || Ok(tensor.clone()))?;
        Ok(tensor)
    }

    /// A linear layer of `inputs` to `outputs`; quantised where it is stored so.
    pub fn linear(
        &mut self,
        name: &str,
        [inputs, outputs]: [usize; 2],
        layout: Layout,
        bias: bool,
    ) -> Result<Linear, ModelError> {
        let weight = self.matrix(&format!("{name}.weight"), [inputs, outputs], layout)?;
        let bias = if bias { Some(self.dense(&format!("{name}.bias"), &[outputs])?) } else { None };
        Ok(Linear { weight, bias })
    }

    /// The rows of the tokens, [V, C]; quantised where they are stored so.
    pub fn embedding(&mut self, name: &str, shape: [usize; 2]) -> Result<Embedding, ModelError> {
        Ok(match self.blocks(name, shape, Layout::OutIn)? {
            Some(blocks) => Embedding::Quantised(blocks),
            None => Embedding::Dense(self.dense(name, &shape)?),
        })
    }

    /// The head, x · Wᵀ with W [V, C]: its own where there is one, else the embedding.
    pub fn head(&mut self, embedding: &Embedding, [vocabulary, width]: [usize; 2]) -> Result<Linear, ModelError> {
        let weight = if self.weights.has(HEAD) {
            self.matrix(HEAD, [width, vocabulary], Layout::OutIn)?
        } else {
            embedding.tied_head().map_err(|error| self.problem(on_device(HEAD, &error)))?
        };
        Ok(Linear { weight, bias: None })
    }

    fn matrix(&mut self, name: &str, [inputs, outputs]: [usize; 2], layout: Layout) -> Result<Matrix, ModelError> {
        let shape = if layout == Layout::InOut { [inputs, outputs] } else { [outputs, inputs] };
        let matrix = match self.blocks(name, shape, layout)? {
            Some(blocks) => QMatMul::from_arc(blocks).map(Matrix::Quantised),
            None => {
                let dense = self.dense(name, &shape)?;
                let lies = if layout == Layout::InOut { Ok(dense) } else { dense.t() };
                lies.map(Matrix::Dense)
            }
        };
        matrix.map_err(|error| self.problem(on_device(name, &error)))
    }

    /// A matrix that is stored in blocks along its inputs, as it is: [out, in].
    fn blocks(&mut self, name: &str, shape: [usize; 2], layout: Layout) -> Result<Option<Arc<QTensor>>, ModelError> {
        let stored = self.weights.get(name, &shape)?;
        let [inputs, outputs] = if layout == Layout::InOut { shape } else { [shape[1], shape[0]] };
        let Some(kind) = kind(stored.element()).filter(|_| stored.stored_shape() == [outputs, inputs]) else {
            return Ok(None);
        };
        let blocks = qtensor_from_ggml(kind, &aligned(&stored), vec![outputs, inputs], self.device)
            .map_err(|error| self.problem(on_device(name, &error)))?;
        self.bytes += stored.bytes().len() as u64;
        stored.release();
        self.tell(name, || {
            let held = blocks.dequantize(self.device)?;
            if layout == Layout::InOut { held.t() } else { Ok(held) }
        })?;
        Ok(Some(Arc::new(blocks)))
    }

    /// Logs the digest of a tensor as it is held, in f32 and in Hugging Face's orientation.
    fn tell(&self, name: &str, held: impl FnOnce() -> CandleResult<Tensor>) -> Result<(), ModelError> {
        if !self.digest {
            return Ok(());
        }
        let read = || -> CandleResult<_> {
            let held = held()?;
            Ok((format!("{:?}", held.dims()), held.flatten_all()?.to_vec1::<f32>()?))
        };
        let (shape, values) = read().map_err(|error| self.problem(on_device(name, &error)))?;
        tracing::info!(tensor = name, shape, sha256 = values_digest(&values), "Tensor as held");
        Ok(())
    }

    pub fn problem(&self, problem: Problem) -> ModelError {
        problem.of(self.weights.file())
    }
}

/// Bytes of all tensors once they are loaded.
pub fn bytes_held(weights: &StoredWeights) -> u64 {
    let bytes = |weight: &StoredWeight| match kind(weight.element()) {
        Some(_) => weight.bytes().len(),
        None => 4 * weight.shape().iter().product::<usize>(),
    };
    weights.iter().map(|(_, weight)| bytes(weight) as u64).sum()
}

fn on_device(name: &str, error: &candle_core::Error) -> Problem {
    Problem::key(name, format!("can't be brought to the device: {error}"))
}

/// Candle reads the scales of a block in place; a file may begin its blocks at any byte.
fn aligned(stored: &StoredWeight) -> Cow<'_, [u8]> {
    let bytes = stored.bytes();
    let is_aligned = (bytes.as_ptr() as usize).is_multiple_of(align_of::<u64>());
    if is_aligned { bytes.into() } else { bytes.to_vec().into() }
}

/// Candle's name of a quantised element; none for one that is decoded.
fn kind(element: Element) -> Option<GgmlDType> {
    Some(match element {
        Element::F32 | Element::F16 | Element::Bf16 => return None,
        Element::Q4_0 => GgmlDType::Q4_0,
        Element::Q4_1 => GgmlDType::Q4_1,
        Element::Q5_0 => GgmlDType::Q5_0,
        Element::Q5_1 => GgmlDType::Q5_1,
        Element::Q8_0 => GgmlDType::Q8_0,
        Element::Q2K => GgmlDType::Q2K,
        Element::Q3K => GgmlDType::Q3K,
        Element::Q4K => GgmlDType::Q4K,
        Element::Q5K => GgmlDType::Q5K,
        Element::Q6K => GgmlDType::Q6K,
    })
}
