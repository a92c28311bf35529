//! The evaluation callback: llama.cpp asks of every node whether it is to be seen, and shows those when they are computed.
//!
//! Their memory is used again by later nodes, so they are copied at once; views and permuted tensors are walked by their
//! strides. Nothing here may unwind into C++: a panic is caught and becomes an error, as anything unexpected does, and
//! the first error ends the computation.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use llama_cpp_sys_2::{
    GGML_TYPE_F16, GGML_TYPE_F32, ggml_backend_tensor_get, ggml_backend_tensor_set, ggml_nbytes, ggml_tensor,
};

use super::log::Log;
use super::stations::{Look, Shows, meaning};
use super::{Lane, LlamaCppError};
use crate::layers::Station;
use crate::model::Configuration;
use crate::model::configuration::LlamaArchitecture;
use crate::parity::capture::Tensor;

/// What the callback collects.
pub struct Recorder {
    pub tensors: BTreeMap<String, Tensor>,
    /// The last row of the logits of the pass that ended.
    pub last_logits: Vec<f32>,
    error: Option<LlamaCppError>,
    lane: Lane,
    every_layer: bool,
    configuration: Configuration,
    n_head: usize,
    n_kv_head: usize,
    head_width: usize,
    /// Shown every node of every pass, if there is one.
    log: Option<Log>,
    /// 0 for the prefill.
    step: usize,
    /// The cache is not copied after later steps.
    last_step: usize,
    /// Tokens of this pass, and positions filled by its end.
    tokens: usize,
    positions: usize,
    /// The input of the GELU that comes next.
    hidden: Vec<f32>,
}

/// What every architecture shows of a layer.
static OF_EVERY_LAYER: [Station; 14] = [
    Station::LayerNorm1,
    Station::Query,
    Station::Key,
    Station::Value,
    Station::CachedKeys,
    Station::CachedValues,
    Station::Scores,
    Station::ScoresMasked,
    Station::Probabilities,
    Station::Merged,
    Station::AttentionOutput,
    Station::AttentionResidual,
    Station::LayerNorm2,
    Station::FeedForwardOutput,
];

/// A node's numbers as they lie, with the strides to walk them. Sizes and strides in elements, the fastest first.
struct Node {
    name: String,
    sizes: [usize; 4],
    strides: [usize; 4],
    values: Vec<f32>,
}

impl Recorder {
    pub fn new(sizes: &Configuration, lane: Lane, every_layer: bool) -> Self {
        Self {
            tensors: BTreeMap::new(),
            last_logits: Vec::new(),
            error: None,
            lane,
            every_layer,
            log: None,
            configuration: sizes.clone(),
            n_head: sizes.n_head(),
            n_kv_head: sizes.n_kv_head(),
            head_width: sizes.head_size(),
            step: 0,
            last_step: usize::MAX,
            tokens: 0,
            positions: 0,
            hidden: Vec::new(),
        }
    }

    /// Before a pass over `tokens` tokens from `position` on.
    pub fn begin(&mut self, tokens: usize, position: usize) {
        self.step = if position == 0 { 0 } else { self.step + 1 };
        self.tokens = tokens;
        self.positions = position + tokens;
        self.last_logits.clear();
    }

    pub fn log_to(&mut self, log: Log) {
        self.log = Some(log);
    }

    /// After a pass: what went wrong in it.
    pub fn end(&mut self) -> Result<(), LlamaCppError> {
        if let Some(log) = &mut self.log {
            log.tell();
        }
        self.error.take().map_or(Ok(()), Err)
    }

    pub fn stop_at(&mut self, step: usize) {
        self.last_step = step;
    }

    /// A graph in which a node has another name would give a capture with holes, and no error.
    pub fn expect_stations(&self) -> Result<(), LlamaCppError> {
        let layers = 0..if self.every_layer { self.configuration.n_layer() } else { 1 };
        let own: &[Station] = match self.configuration {
            Configuration::Gpt2(_) => &[Station::FeedForwardHidden, Station::Gelu],
            Configuration::Llama(_) => {
                &[Station::QueryRotated, Station::KeyRotated, Station::Gate, Station::Up, Station::GatedProduct]
            }
        };
        let of_a_layer = || OF_EVERY_LAYER.iter().chain(own);
        let of_layers = layers.flat_map(|layer| of_a_layer().map(move |station| station.name(layer, 0)));
        let blocks = (0..self.configuration.n_layer()).map(|layer| Station::BlockOutput.name(layer, 0));
        let of_the_whole = [Station::Embedding, Station::FinalLayerNorm, Station::Logits].map(|one| one.name(0, 0));
        match of_layers.chain(blocks).chain(of_the_whole).find(|name| !self.tensors.contains_key(name)) {
            Some(missing) => Err(LlamaCppError::NoNode(missing)),
            None => Ok(()),
        }
    }

    /// Whether the node is to be seen.
    fn wants(&self, shows: Shows, layer: usize) -> bool {
        match shows {
            _ if self.log.is_some() => true,
            Shows::Rows(Station::Logits) => true,
            Shows::Rows(Station::FeedForwardHidden) | Shows::Gelu if self.lane == Lane::Exact => true,
            Shows::Scores => self.captures(Station::CachedKeys, layer),
            Shows::Values => self.captures(Station::CachedValues, layer),
            Shows::Rows(station) | Shows::Heads(station) => self.captures(station, layer),
            Shows::Probabilities => self.captures(Station::Probabilities, layer),
            Shows::Gelu => self.captures(Station::Gelu, layer),
        }
    }

    /// Whether this tensor of this pass goes into the capture.
    fn captures(&self, station: Station, layer: usize) -> bool {
        let is_prefill = self.step == 0;
        let is_shown = self.every_layer || layer == 0;
        match station {
            Station::BlockOutput => is_prefill,
            Station::CachedKeys | Station::CachedValues => is_shown && self.step <= self.last_step,
            _ => is_shown && is_prefill,
        }
    }

    /// Keeps what a node shows; for the GELU in the exact lane, what is to be put in its place.
    fn see(
        &mut self,
        shows: Shows,
        layer: usize,
        node: Node,
        source: Option<Node>,
    ) -> Result<Option<Vec<f32>>, LlamaCppError> {
        let (tokens, positions, n_head) = (self.tokens, self.positions, self.n_head);
        match shows {
            Shows::Rows(station) => {
                let rows = Axes([(1, tokens), (0, node.sizes[0])]);
                let values = node.walk(rows)?;
                if station == Station::Logits {
                    self.last_logits = values[(tokens - 1) * node.sizes[0]..].to_vec();
                }
                if station == Station::FeedForwardHidden && self.lane == Lane::Exact {
                    self.hidden.clone_from(&values);
                }
                if station == Station::BlockOutput {
                    self.keep(Station::Block, layer, &[tokens, node.sizes[0]], values.clone());
                }
                self.keep(station, layer, &[tokens, node.sizes[0]], values);
            }
            Shows::Heads(station) => {
                let is_query = matches!(station, Station::Query | Station::QueryRotated);
                let n_head = if is_query { n_head } else { self.n_kv_head };
                let mut values = node.walk(Axes([(2, tokens), (1, n_head), (0, self.head_width)]))?;
                if station != Station::Value {
                    self.in_halves(&mut values);
                }
                self.keep(station, layer, &[tokens, n_head, self.head_width], values);
            }
            Shows::Scores => {
                // The keys of the cache, [D, padded N, KV].
                let axes = Axes([(1, positions), (2, self.n_kv_head), (0, self.head_width)]);
                let mut keys = expect(source, &node)?.walk(axes)?;
                self.in_halves(&mut keys);
                self.keep(Station::CachedKeys, layer, &[positions, self.n_kv_head, self.head_width], keys);
                self.keep_scores(layer, node.walk(Axes([(2, n_head), (1, tokens), (0, positions)]))?);
            }
            Shows::Probabilities => {
                let values = node.walk(Axes([(2, n_head), (1, tokens), (0, positions)]))?;
                self.keep(Station::Probabilities, layer, &[n_head, tokens, positions], values);
            }
            Shows::Values => {
                // The values of the cache, [padded N, D, KV].
                let axes = Axes([(0, positions), (2, self.n_kv_head), (1, self.head_width)]);
                let values = expect(source, &node)?.walk(axes)?;
                self.keep(Station::CachedValues, layer, &[positions, self.n_kv_head, self.head_width], values);
            }
            Shows::Gelu => {
                let shape = [tokens, node.sizes[0]];
                let mut values = node.walk(Axes([(1, tokens), (0, node.sizes[0])]))?;
                if self.lane == Lane::Exact {
                    if self.hidden.len() != values.len() || !node.is_contiguous() {
                        return Err(node.is_not("it does not follow its `ffn_up_b`"));
                    }
                    values = self.hidden.iter().map(|x| gelu(*x)).collect();
                    self.keep(Station::Gelu, layer, &shape, values.clone());
                    return Ok(Some(values));
                }
                self.keep(Station::Gelu, layer, &shape, values);
            }
        }
        Ok(None)
    }

    fn keep(&mut self, station: Station, layer: usize, shape: &[usize], values: Vec<f32>) {
        if let Some(log) = &mut self.log {
            log.record(station, layer, self.positions - self.tokens, shape, &values);
        }
        if self.captures(station, layer) {
            self.tensors.insert(station.name(layer, self.step), Tensor::f32(shape, values));
        }
    }

    /// Queries and keys in Hugging Face's order of channels. Of Llama, GGUF has the two channels that turn together side by
    /// side, 2 i and 2 i + 1; there they are i and i + D / 2. Scores don't see it.
    fn in_halves(&self, values: &mut [f32]) {
        let Configuration::Llama(sizes) = &self.configuration else { return };
        if sizes.architecture == LlamaArchitecture::Llama {
            for head in values.chunks_exact_mut(self.head_width) {
                let (even, odd): (Vec<f32>, Vec<f32>) =
                    head.as_chunks::<2>().0.iter().map(|pair| (pair[0], pair[1])).unzip();
                head.copy_from_slice(&[even, odd].concat());
            }
        }
    }

    /// llama.cpp multiplies by the scale and masks inside its softmax; both are done here, as it does them.
    fn keep_scores(&mut self, layer: usize, mut scores: Vec<f32>) {
        let (tokens, positions) = (self.tokens, self.positions);
        let scale = 1.0 / (self.head_width as f32).sqrt();
        scores.iter_mut().for_each(|score| *score *= scale);
        let shape = [self.n_head, tokens, positions];
        self.keep(Station::Scores, layer, &shape, scores.clone());
        for (row, scores) in scores.chunks_exact_mut(positions).enumerate() {
            let seen = positions - tokens + row % tokens + 1;
            scores[seen..].fill(f32::NEG_INFINITY);
        }
        self.keep(Station::ScoresMasked, layer, &shape, scores);
    }
}

fn expect(source: Option<Node>, node: &Node) -> Result<Node, LlamaCppError> {
    source.ok_or_else(|| node.is_not("it has no first source"))
}

/// GPT-2's GELU ("gelu_new"), in f64.
fn gelu(x: f32) -> f32 {
    let x = f64::from(x);
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
    (0.5 * x * (1.0 + inner.tanh())) as f32
}

/// The axes of a node in the order in which they are wanted, the slowest first, each with how much of it.
struct Axes<const N: usize>([(usize, usize); N]);

impl Node {
    fn walk<const N: usize>(&self, axes: Axes<N>) -> Result<Vec<f32>, LlamaCppError> {
        let Axes(axes) = axes;
        if let Some((axis, wanted)) = axes.iter().find(|(axis, wanted)| self.sizes[*axis] < *wanted) {
            return Err(self.is_not(&format!("its axis {axis} of {:?} has not {wanted} elements", self.sizes)));
        }
        let (mut values, mut index) = (Vec::with_capacity(axes.iter().map(|(_, wanted)| wanted).product()), [0; N]);
        'all: loop {
            let at: usize = axes.iter().zip(index).map(|((axis, _), at)| self.strides[*axis] * at).sum();
            values.push(*self.values.get(at).ok_or_else(|| self.is_not("its strides lead out of it"))?);
            for axis in (0..N).rev() {
                index[axis] += 1;
                if index[axis] < axes[axis].1 {
                    continue 'all;
                }
                index[axis] = 0;
            }
            return Ok(values);
        }
    }

    fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        self.sizes.iter().zip(self.strides).all(|(size, stride)| {
            let fits = *size == 1 || stride == expected;
            expected *= size;
            fits
        })
    }

    fn is_not(&self, why: &str) -> LlamaCppError {
        LlamaCppError::Node { node: self.name.clone(), why: why.to_owned() }
    }
}

/// What llama.cpp calls, for every node of every graph.
///
/// # Safety
/// `tensor` is a node of a graph that is being computed, and `user_data` the [`Recorder`] that the context was made with,
/// which nobody else uses meanwhile.
#[allow(unsafe_code)]
pub unsafe extern "C" fn evaluate(tensor: *mut ggml_tensor, ask: bool, user_data: *mut c_void) -> bool {
    // SAFETY: `user_data` is a `Recorder`, alive and unshared while llama.cpp computes.
    let recorder = unsafe { &mut *user_data.cast::<Recorder>() };
    if recorder.error.is_some() {
        // Seen, so that the computation can be ended there.
        return ask;
    }
    // SAFETY: `tensor` is a node of the graph; so are its sources.
    let step = || unsafe { of_node(recorder, tensor, ask) };
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            recorder.error = Some(error);
            ask
        }
        Err(_) => {
            let why = "a panic, which is a defect of llorch".to_owned();
            recorder.error = Some(LlamaCppError::Node { node: "?".to_owned(), why });
            ask
        }
    }
}

/// # Safety
/// As for [`evaluate`].
#[allow(unsafe_code)]
unsafe fn of_node(recorder: &mut Recorder, tensor: *mut ggml_tensor, ask: bool) -> Result<bool, LlamaCppError> {
    // SAFETY: the node is alive while its graph is computed, and so are its sources, where it has them.
    let (node, first, second) = unsafe {
        let node = &*tensor;
        (node, node.src[0].as_ref(), node.src[1].as_ref())
    };
    let named = |source: Option<&ggml_tensor>| source.map(|source| name(&source.name)).unwrap_or_default();
    let look = Look { name: &named(Some(node)), operation: node.op, first: &named(first), second: &named(second) };
    let is_gated = matches!(recorder.configuration, Configuration::Llama(_));
    let Some((shows, layer)) = meaning(&look, is_gated) else { return Ok(!ask) };
    if ask {
        return Ok(recorder.wants(shows, layer));
    }
    let source = match shows {
        Shows::Scores | Shows::Values => first,
        _ => None,
    };
    // SAFETY: both are computed and have memory.
    let (seen, source) = unsafe { (read(node)?, source.map(|source| read(source)).transpose()?) };
    if let Some(values) = recorder.see(shows, layer, seen, source)? {
        // SAFETY: `see` found the node contiguous and of as many f32 as there are values, and nothing runs meanwhile.
        unsafe { ggml_backend_tensor_set(tensor, values.as_ptr().cast(), 0, size_of_val(values.as_slice())) };
    }
    Ok(true)
}

/// A computed tensor's numbers, wherever they are.
///
/// # Safety
/// The tensor is computed, and its memory not yet used again.
#[allow(unsafe_code)]
unsafe fn read(tensor: &ggml_tensor) -> Result<Node, LlamaCppError> {
    let name = name(&tensor.name);
    let is_not = |why: String| LlamaCppError::Node { node: name.clone(), why };
    let width = match tensor.type_ {
        GGML_TYPE_F32 => 4,
        GGML_TYPE_F16 => 2,
        other => return Err(is_not(format!("it has the element type {other}"))),
    };
    if tensor.data.is_null() {
        return Err(is_not("it has no memory".to_owned()));
    }
    let sizes = tensor.ne.map(|size| usize::try_from(size).unwrap_or(0));
    if tensor.nb.iter().any(|stride| stride % width != 0) {
        return Err(is_not(format!("its strides {:?} cut through elements", tensor.nb)));
    }
    // SAFETY: a tensor of the graph; this only multiplies its sizes and strides.
    let length = unsafe { ggml_nbytes(tensor) };
    let mut bytes = vec![0u8; length];
    // SAFETY: `bytes` has room for exactly the bytes that the tensor spans, from its first element on.
    unsafe { ggml_backend_tensor_get(tensor, bytes.as_mut_ptr().cast(), 0, length) };
    let values = match width {
        4 => bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        _ => bytes.as_chunks::<2>().0.iter().map(|bytes| half::f16::from_le_bytes(*bytes).to_f32()).collect(),
    };
    Ok(Node { name, sizes, strides: tensor.nb.map(|stride| stride / width), values })
}

/// A tensor's name: up to its first zero.
fn name(bytes: &[c_char]) -> String {
    let bytes: Vec<u8> = bytes.iter().map(|byte| *byte as u8).collect();
    CStr::from_bytes_until_nul(&bytes).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
