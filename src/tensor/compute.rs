//! The machine that operations run on.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::matmul::{Races, WORKSPACE_FLOATS};
use super::{Buffer, Instructions, SharedOutput, Threads, elementwise};

/// Instruction set, threads, and for each thread the memory it works in.
pub struct Compute {
    pub instructions: Instructions,
    threads: Threads,
    /// One for each thread. Locked by that thread alone, so never waited for.
    workspaces: Vec<Mutex<Buffer>>,
    pub(super) races: Races,
}

/// One thread's share of an operation.
pub struct Part<'a> {
    pub index: usize,
    pub count: usize,
    /// Memory for intermediate values; what it holds at the start is left over from before.
    pub workspace: &'a mut Buffer,
}

impl Compute {
    /// `workspace`: floats that a part of the largest operation needs, beyond what a matrix product does.
    pub fn new(threads: usize, instructions: Instructions, workspace: usize) -> Self {
        let threads = Threads::new(threads);
        let floats = workspace.max(WORKSPACE_FLOATS);
        let workspaces = (0..threads.count()).map(|_| Mutex::new(Buffer::zeros(floats))).collect();
        Self { instructions, threads, workspaces, races: Races::default() }
    }

    pub fn threads(&self) -> usize {
        self.threads.count()
    }

    /// Floats of working memory, all threads together.
    pub fn workspace_floats(&self) -> usize {
        self.workspaces.iter().map(|each| each.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// Runs `work` once on each thread.
    pub fn in_parts(&mut self, work: &(dyn Fn(Part<'_>) + Sync)) {
        let (count, workspaces) = (self.threads.count(), &self.workspaces);
        self.threads.run(&|index| {
            let mut workspace = workspaces[index].lock().unwrap_or_else(PoisonError::into_inner);
            work(Part { index, count, workspace: &mut workspace });
        });
    }
}

impl Compute {
    /// out ← layer norm of each row of x: [T, C], rows shared among the threads.
    pub fn layer_norm(&mut self, x: &[f32], weight: &[f32], bias: &[f32], epsilon: f64, out: &mut [f32]) {
        let (instructions, width) = (self.instructions, weight.len());
        let rows = x.len() / width;
        if rows < self.threads() {
            return elementwise::layer_norm(instructions, x, weight, bias, epsilon, out);
        }
        let out = SharedOutput::new(out);
        self.in_parts(&|part| {
            let share = part.share(rows, 1);
            let share = share.start * width..share.end * width;
            // SAFETY: parts have rows of their own.
            #[allow(unsafe_code)]
            let out = unsafe { out.range(share.clone()) };
            elementwise::layer_norm(instructions, &x[share], weight, bias, epsilon, out);
        });
    }
}

impl Part<'_> {
    /// This part's share of `total` things that come in groups of `unit`: whole groups, all parts together everything.
    pub fn share(&self, total: usize, unit: usize) -> Range<usize> {
        let groups = total.div_ceil(unit);
        let bound = |part: usize| (groups * part / self.count * unit).min(total);
        bound(self.index)..bound(self.index + 1)
    }
}
