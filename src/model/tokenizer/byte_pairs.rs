//! Byte-pair encoding: the pair of neighbours with the lowest rank is merged, the leftmost first, until none is left.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::vocabulary::Merge;

/// The merges, ready to be looked up by pair.
#[derive(Clone, Debug)]
pub struct BytePairs {
    byte_tokens: [u32; 256],
    merges: Vec<Merge>,
    ranks: HashMap<(u32, u32), u32>,
}

impl BytePairs {
    pub fn new(byte_tokens: [u32; 256], merges: Vec<Merge>) -> BytePairs {
        let ranks = merges.iter().enumerate().map(|(rank, merge)| ((merge.left, merge.right), rank as u32)).collect();
        BytePairs { byte_tokens, merges, ranks }
    }

    /// Appends the tokens of one word.
    pub fn encode(&self, word: &[u8], desk: &mut Desk, ids: &mut Vec<u32>) {
        let start = ids.len();
        ids.extend(word.iter().map(|byte| self.byte_tokens[usize::from(*byte)]));
        if word.len() > 1 {
            let kept = self.merge(&mut ids[start..], desk);
            ids.truncate(start + kept);
        }
    }

    /// Merges in place and returns how many tokens are left, in n·log n: neighbours are a linked list, pairs wait in a
    /// heap, and a pair that an earlier merge has taken apart is recognised when its turn comes.
    fn merge(&self, symbols: &mut [u32], desk: &mut Desk) -> usize {
        let length = symbols.len();
        desk.next.clear();
        desk.next.extend(1..=length);
        desk.previous.clear();
        desk.previous.extend((0..length).map(|index| index.wrapping_sub(1)));
        desk.pairs.clear();
        for index in 0..length - 1 {
            self.enqueue(symbols, index, index + 1, desk);
        }
        while let Some(Reverse((rank, left))) = desk.pairs.pop() {
            let Merge { left: first, right: second, merged } = self.merges[rank as usize];
            let right = desk.next[left];
            // A symbol that was merged away is GONE, which is in no merge.
            if symbols[left] != first || right == length || symbols[right] != second {
                continue;
            }
            symbols[left] = merged;
            symbols[right] = GONE;
            let after = desk.next[right];
            desk.next[left] = after;
            if after < length {
                desk.previous[after] = left;
                self.enqueue(symbols, left, after, desk);
            }
            let before = desk.previous[left];
            if before < length {
                self.enqueue(symbols, before, left, desk);
            }
        }
        let (mut kept, mut index) = (0, 0);
        while index < length {
            symbols[kept] = symbols[index];
            kept += 1;
            index = desk.next[index];
        }
        kept
    }

    fn enqueue(&self, symbols: &[u32], left: usize, right: usize, desk: &mut Desk) {
        if let Some(rank) = self.ranks.get(&(symbols[left], symbols[right])) {
            desk.pairs.push(Reverse((*rank, left)));
        }
    }
}

/// No token has this id: a vocabulary is smaller.
const GONE: u32 = u32::MAX;

/// Working space, kept from word to word.
#[derive(Debug, Default)]
pub struct Desk {
    /// The neighbour to the right of each symbol; the length at the end.
    next: Vec<usize>,
    /// The neighbour to the left; `usize::MAX` at the start.
    previous: Vec<usize>,
    /// Pairs to merge: rank, then place.
    pairs: BinaryHeap<Reverse<(u32, usize)>>,
}
