//! From checked places in a file to [`Weight`]s. Every byte of every tensor that the model uses is read once here, so that
//! the first job is not slower than the second, and every value is checked to be finite.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::Weight;
use super::bytes::{FileBytes, MappedValues};
use super::element::Element;
use super::memory::Values;
use crate::model::error::Problem;

/// One tensor that the model uses: where it lies, and what it is to become.
#[derive(Clone)]
pub struct Stored {
    /// Hugging Face's, without its prefix.
    pub name: String,
    /// Hugging Face's orientation.
    pub shape: Vec<usize>,
    pub element: Element,
    pub arrangement: Arrangement,
    pub file: Arc<FileBytes>,
    /// In bytes from the start of the file; inside it, and exactly what shape and element need.
    pub range: Range<usize>,
}

/// How the rows in the file are the rows as held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrangement {
    AsHeld,
    /// `[out, in]` where [`Stored::shape`] is `[in, out]`.
    Transposed,
    /// The two halves of each head row by row in turn, as llama.cpp keeps the queries and keys of a Llama: it turns adjacent
    /// channels, where Hugging Face turns channel i with channel i + D/2.
    Pairs {
        heads: usize,
    },
}

impl Stored {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.file[self.range.clone()]
    }

    /// The rows of a tensor stored in pairs, in their order as held, each as stored.
    pub(super) fn rows_in_halves(&self, heads: usize) -> impl Iterator<Item = &[u8]> {
        let (rows, bytes) = (self.shape[0], self.bytes());
        let row_bytes = bytes.len() / rows;
        let (head, half) = (rows / heads, rows / heads / 2);
        let in_file = move |row: usize| row / head * head + row % half * 2 + row % head / half;
        (0..rows).map(move |row| &bytes[in_file(row) * row_bytes..][..row_bytes])
    }

    /// The values where they lie, if they are stored as they are held. A matrix of a layer has to lie on a cache line as
    /// well, or decoding is slower by a tenth, token after token; that is less than copying it once.
    fn in_place(&self) -> Option<MappedValues> {
        const LINE: usize = 64;
        let as_held = self.element == Element::F32 && self.arrangement == Arrangement::AsHeld;
        let mapped = if as_held { MappedValues::new(&self.file, self.range.clone())? } else { return None };
        let is_layer_matrix = self.shape.len() == 2 && self.name.starts_with("h.");
        let fits = !is_layer_matrix || mapped.as_slice().as_ptr().addr().is_multiple_of(LINE);
        fits.then_some(mapped)
    }
}

/// Reads all of them. `progress` is told 0 to 100, by bytes, each number once.
pub fn load(tensors: &[Stored], progress: &mut dyn FnMut(u8)) -> Result<BTreeMap<String, Weight>, Problem> {
    let mut progress = Progress::new(tensors.iter().map(|tensor| tensor.range.len()).sum(), progress);
    let mut weights = BTreeMap::new();
    for tensor in tensors {
        weights.insert(tensor.name.clone(), load_one(tensor, &mut progress)?);
    }
    progress.finish();
    Ok(weights)
}

/// Bytes that loading these will allocate: those of all tensors that cannot be used where they lie.
pub fn decoded_bytes(tensors: &[Stored]) -> u64 {
    let copied = tensors.iter().filter(|tensor| tensor.in_place().is_none());
    copied.map(|tensor| (tensor.shape.iter().product::<usize>() * size_of::<f32>()) as u64).sum()
}

fn load_one(tensor: &Stored, progress: &mut Progress) -> Result<Weight, Problem> {
    if let Some(mapped) = tensor.in_place() {
        let mut first = 0;
        for values in mapped.as_slice().chunks(CHECKED_AT_ONCE) {
            check_finite(tensor, values, |index| first + index)?;
            progress.advance(size_of_val(values));
            first += values.len();
        }
        return Ok(Weight::from_map(tensor.shape.clone(), mapped));
    }
    tensor.file.will_release(&tensor.range);
    let values = decode_values(tensor, progress)?;
    tensor.file.release(&tensor.range);
    Ok(Weight::decoded(tensor.shape.clone(), values))
}

fn decode_values(tensor: &Stored, progress: &mut Progress) -> Result<Values, Problem> {
    match (tensor.arrangement, tensor.shape.as_slice()) {
        (Arrangement::Transposed, &[inputs, outputs]) => decode_transposed(tensor, inputs, outputs, progress),
        (Arrangement::Pairs { heads }, _) => decode_pairs(tensor, heads, progress),
        _ => decode_in_order(tensor, progress),
    }
}

/// One tensor in memory of its own.
pub(super) fn decode(tensor: &Stored) -> Result<Weight, Problem> {
    let values = decode_values(tensor, &mut Progress::new(0, &mut |_| {}))?;
    Ok(Weight::decoded(tensor.shape.clone(), values))
}

/// Reads all of them and keeps none. `progress` is told 0 to 100, by bytes, each number once.
pub(super) fn check(tensors: &[Stored], progress: &mut dyn FnMut(u8)) -> Result<(), Problem> {
    let mut progress = Progress::new(tensors.iter().map(|tensor| tensor.range.len()).sum(), progress);
    let mut values = vec![0.0; CHECKED_AT_ONCE];
    for tensor in tensors {
        let mut first = 0;
        for stored in tensor.bytes().chunks(tensor.element.stored_bytes(CHECKED_AT_ONCE)) {
            let values = &mut values[..tensor.element.elements(stored.len())];
            tensor.element.decode(stored, values);
            // Where it happened is found by decoding it to its place.
            let found = check_finite(tensor, values, |index| first + index);
            found.map_err(|problem| decode(tensor).err().unwrap_or(problem))?;
            progress.advance(stored.len());
            first += values.len();
        }
    }
    progress.finish();
    Ok(())
}

/// Whether two tensors in the same order hold the same numbers, however each is stored.
pub fn same_values(one: &Stored, other: &Stored) -> bool {
    if one.element == other.element {
        return one.bytes() == other.bytes();
    }
    let runs = |tensor: &Stored| tensor.element.stored_bytes(CHECKED_AT_ONCE);
    let [mut left, mut right] = [vec![0.0; CHECKED_AT_ONCE], vec![0.0; CHECKED_AT_ONCE]];
    one.bytes().chunks(runs(one)).zip(other.bytes().chunks(runs(other))).all(|(mine, others)| {
        let count = one.element.elements(mine.len());
        one.element.decode(mine, &mut left[..count]);
        other.element.decode(others, &mut right[..count]);
        left[..count] == right[..count]
    })
}

/// Values looked at together: small enough to stay in the cache between decoding and checking; a multiple of every block.
const CHECKED_AT_ONCE: usize = 1 << 16;

fn decode_in_order(tensor: &Stored, progress: &mut Progress) -> Result<Values, Problem> {
    let mut values = Values::zeros(tensor.shape.iter().product())?;
    let run = tensor.element.stored_bytes(CHECKED_AT_ONCE);
    let mut first = 0;
    for (stored, values) in tensor.bytes().chunks(run).zip(values.chunks_mut(CHECKED_AT_ONCE)) {
        tensor.element.decode(stored, values);
        check_finite(tensor, values, |index| first + index)?;
        progress.advance(stored.len());
        first += values.len();
    }
    Ok(values)
}

/// Row by row; a row is one number where the tensor is a bias.
fn decode_pairs(tensor: &Stored, heads: usize, progress: &mut Progress) -> Result<Values, Problem> {
    let mut values = Values::zeros(tensor.shape.iter().product())?;
    let width = values.len() / tensor.shape[0];
    for (row, (stored, values)) in tensor.rows_in_halves(heads).zip(values.chunks_exact_mut(width)).enumerate() {
        tensor.element.decode(stored, values);
        check_finite(tensor, values, |index| row * width + index)?;
        progress.advance(stored.len());
    }
    Ok(values)
}

/// `[out, in]` in the file to `[in, out]` in memory, a few rows of the file at a time, so that what is written together is a
/// whole cache line and what is read again is still in the cache.
fn decode_transposed(
    tensor: &Stored,
    inputs: usize,
    outputs: usize,
    progress: &mut Progress,
) -> Result<Values, Problem> {
    const ROWS: usize = 16; // f32 in a cache line
    let mut values = Values::zeros(inputs * outputs)?; // [in, out]
    let mut rows = vec![0.0; ROWS.min(outputs) * inputs]; // [ROWS, in]
    let row_bytes = tensor.element.stored_bytes(inputs);
    for (group, stored) in tensor.bytes().chunks(ROWS * row_bytes).enumerate() {
        let count = stored.len() / row_bytes;
        let rows = &mut rows[..count * inputs];
        tensor.element.decode(stored, rows);
        check_finite(tensor, rows, |index| (index % inputs) * outputs + group * ROWS + index / inputs)?;
        for (input, column) in values.chunks_exact_mut(outputs).enumerate() {
            for (row, value) in column[group * ROWS..][..count].iter_mut().enumerate() {
                *value = rows[row * inputs + input];
            }
        }
        progress.advance(stored.len());
    }
    Ok(values)
}

/// `place` turns an index among these values into one of the whole tensor as held.
fn check_finite(tensor: &Stored, values: &[f32], place: impl Fn(usize) -> usize) -> Result<(), Problem> {
    const EXPONENT: u32 = 0x7f80_0000; // all set: infinity or not a number
    // Without a branch, so that it runs as fast as memory; where it happened is found only when it did.
    let any = values.iter().fold(false, |any, value| any | (value.to_bits() & EXPONENT == EXPONENT));
    if !any {
        return Ok(());
    }
    let index = values.iter().position(|value| !value.is_finite()).unwrap_or_default();
    Err(Problem::NotFinite { tensor: tensor.name.clone(), index: place(index) as u64, value: values[index] })
}

/// Percent of the bytes done, told once per number.
struct Progress<'a> {
    done: u128,
    total: u128,
    told: u8,
    tell: &'a mut dyn FnMut(u8),
}

impl<'a> Progress<'a> {
    fn new(total: usize, tell: &'a mut dyn FnMut(u8)) -> Self {
        tell(0);
        Progress { done: 0, total: total as u128, told: 0, tell }
    }

    fn advance(&mut self, bytes: usize) {
        self.done += bytes as u128;
        self.tell_up_to((self.done * 100 / self.total.max(1)).min(100) as u8);
    }

    fn finish(&mut self) {
        self.tell_up_to(100);
    }

    fn tell_up_to(&mut self, percent: u8) {
        while self.told < percent {
            self.told += 1;
            (self.tell)(self.told);
        }
    }
}
