//! Where the pass begins: x = wte[token] + wpe[position].

use crate::model::Weight;

pub struct Embedding {
    pub token: Weight,    // [V, C]
    pub position: Weight, // [n_ctx, C]
}

impl Embedding {
    /// x: [T, C], for tokens at positions `start..start + T`.
    pub fn forward(&self, tokens: &[u32], start: usize, x: &mut [f32]) {
        let width = x.len() / tokens.len();
        for (row, (token, x)) in tokens.iter().zip(x.chunks_exact_mut(width)).enumerate() {
            let token = &self.token.values()[*token as usize * width..][..width]; // [C]
            let position = &self.position.values()[(start + row) * width..][..width]; // [C]
            for ((x, token), position) in x.iter_mut().zip(token).zip(position) {
                *x = token + position;
            }
        }
    }
}
