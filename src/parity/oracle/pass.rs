//! One forward pass: stations are computed when they are asked for, once, from the stations before them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::{Model, Operations, OracleError, Tensor};
use crate::layers::Station;
use crate::model::{Configuration, ModelError, Weight};

/// Tensors that a pass takes as they are instead of computing them: those of a trace under test.
pub trait Given {
    /// In the shape that the pass would compute.
    fn tensor(&self, station: Station, layer: usize) -> Option<Rc<Tensor>>;
}

/// Everything is computed.
pub struct Nothing;

impl Given for Nothing {
    fn tensor(&self, _: Station, _: usize) -> Option<Rc<Tensor>> {
        None
    }
}

/// k and v of each layer: [capacity, KV, D], zero where nothing was written.
#[derive(Clone, Debug)]
pub struct Cache {
    pub keys: Vec<Rc<Tensor>>,
    pub values: Vec<Rc<Tensor>>,
}

impl Cache {
    pub fn new(model: &Model<'_>, capacity: usize) -> Self {
        let configuration = model.configuration;
        let shape = [capacity, configuration.n_kv_head(), configuration.head_size()];
        let empty = Rc::new(Tensor::zeros(&shape));
        let empty: Vec<Rc<Tensor>> = (0..configuration.n_layer()).map(|_| Rc::clone(&empty)).collect();
        Self { keys: empty.clone(), values: empty }
    }
}

/// The tensors of one chunk of tokens.
pub struct Pass<'a, O> {
    pub model: Model<'a>,
    pub operations: &'a O,
    pub tokens: &'a [u32],
    /// Of the first token, by which it is embedded or turned.
    pub position: usize,
    /// Of the first token, in the cache.
    pub start: usize,
    /// What the cache holds before this pass.
    pub past: &'a Cache,
    given: &'a dyn Given,
    computed: RefCell<HashMap<At, Rc<Tensor>>>,
    /// What each station that was computed asked for, and was not given.
    asked: RefCell<HashMap<At, Vec<At>>>,
    /// The same of those that are being computed, the innermost last.
    asking: RefCell<Vec<Vec<At>>>,
}

/// A station of a layer.
type At = (Station, usize);

impl<'a, O: Operations> Pass<'a, O> {
    /// A pass of tokens at positions `start..`, which is where they go in the cache.
    pub fn new(
        model: Model<'a>,
        operations: &'a O,
        tokens: &'a [u32],
        start: usize,
        past: &'a Cache,
        given: &'a dyn Given,
    ) -> Result<Self, OracleError> {
        let (vocab_size, n_ctx) = (model.configuration.vocab_size(), model.configuration.n_ctx());
        if tokens.is_empty() {
            return Err(OracleError::NoTokens);
        }
        if let Some(&token) = tokens.iter().find(|token| **token as usize >= vocab_size) {
            return Err(OracleError::UnknownToken { token, vocab_size });
        }
        let needed = start + tokens.len();
        if needed > n_ctx {
            return Err(OracleError::ContextFull { needed, n_ctx });
        }
        let (computed, asked, asking) = Default::default();
        Ok(Self { model, operations, tokens, position: start, start, past, given, computed, asked, asking })
    }

    /// The same with the first token at another position.
    pub fn at_position(self, position: usize) -> Self {
        Self { position, ..self }
    }

    /// The same chunk, past and operations, with other tensors given.
    pub fn given<'b>(&'b self, given: &'b dyn Given) -> Pass<'b, O> {
        let Self { model, operations, tokens, position, start, past, .. } = *self;
        let (computed, asked, asking) = Default::default();
        Pass { model, operations, tokens, position, start, past, given, computed, asked, asking }
    }

    /// T
    pub fn rows(&self) -> usize {
        self.tokens.len()
    }

    /// N
    pub fn positions(&self) -> usize {
        self.start + self.tokens.len()
    }

    /// A station's tensor: given, known already, or computed.
    pub fn get(&self, station: Station, layer: usize) -> Result<Rc<Tensor>, ModelError> {
        if let Some(given) = self.given.tensor(station, layer) {
            return Ok(given);
        }
        if let Some(asking) = self.asking.borrow_mut().last_mut() {
            asking.push((station, layer));
        }
        if let Some(known) = self.known(station, layer) {
            return Ok(known);
        }
        let tensor = Rc::new(self.compute(station, layer)?);
        self.computed.borrow_mut().insert((station, layer), Rc::clone(&tensor));
        Ok(tensor)
    }

    /// A station's tensor from its inputs, whether it is given or not.
    pub fn compute(&self, station: Station, layer: usize) -> Result<Tensor, ModelError> {
        self.asking.borrow_mut().push(Vec::new());
        let tensor = self.operations.station(self, station, layer);
        let asked = self.asking.borrow_mut().pop().unwrap_or_default();
        self.asked.borrow_mut().insert((station, layer), asked);
        tensor
    }

    /// A station's tensor if it was computed already.
    pub fn known(&self, station: Station, layer: usize) -> Option<Rc<Tensor>> {
        self.computed.borrow().get(&(station, layer)).cloned()
    }

    /// As a capture shows it: of the cache, the part that is filled.
    pub fn shown(&self, station: Station, layer: usize) -> Result<Rc<Tensor>, ModelError> {
        let tensor = self.get(station, layer)?;
        Ok(match station {
            Station::CachedKeys | Station::CachedValues => Rc::new(tensor.first_rows(self.positions())),
            _ => tensor,
        })
    }

    /// Every station that went into one that was computed, and that was not given; itself among them.
    pub fn made_of(&self, station: Station, layer: usize) -> Vec<(Station, usize)> {
        let asked = self.asked.borrow();
        let (mut all, mut next) = (Vec::new(), vec![(station, layer)]);
        while let Some(at) = next.pop() {
            if !all.contains(&at) {
                all.push(at);
                next.extend(asked.get(&at).into_iter().flatten());
            }
        }
        all
    }

    /// What goes into a block: [T, C]
    pub fn block_input(&self, layer: usize) -> Result<Rc<Tensor>, ModelError> {
        match layer.checked_sub(1) {
            None => self.get(Station::Embedding, 0),
            Some(before) => self.get(Station::BlockOutput, before),
        }
    }

    /// A weight of the block that runs as number `layer`.
    pub fn block_weight(&self, layer: usize, name: &str, shape: &[usize]) -> Result<Weight, ModelError> {
        let block = self.operations.block_at(layer, self.model.configuration.n_layer());
        let blocks = match self.model.configuration {
            Configuration::Gpt2(_) => "h",
            Configuration::Llama(_) => "layers",
        };
        self.model.weight(&format!("{blocks}.{block}.{name}"), shape)
    }

    /// The cache as this pass leaves it.
    pub fn cache(&self) -> Result<Cache, ModelError> {
        let layers = 0..self.model.configuration.n_layer();
        let all = |station| layers.clone().map(|layer| self.get(station, layer)).collect::<Result<Vec<_>, _>>();
        Ok(Cache { keys: all(Station::CachedKeys)?, values: all(Station::CachedValues)? })
    }
}

/// `rows` [T, KV, D] at positions `start..` of a cache, [capacity, KV, D]; what has no room is lost.
pub fn written(cache: &Tensor, start: usize, rows: &Tensor) -> Tensor {
    let mut cache = cache.clone();
    let width = cache.row_len();
    for (row, values) in rows.values.chunks_exact(width).enumerate() {
        if let Some(slot) = cache.values.get_mut((start + row) * width..(start + row + 1) * width) {
            slot.copy_from_slice(values);
        }
    }
    cache
}
