//! A tile of the output, held in registers while the steps of its chains go by.

use super::{MatrixMut, MatrixRef};
use crate::tensor::Instructions;
use crate::tensor::lanes::{LANES, Lanes, for_each_instruction_set};

/// Columns of W as wide as a tile.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a> {
    pub w: MatrixRef<'a>, // [steps, 16 · vectors]
    pub vectors: usize,
    /// What will be packed into this place next, asked for from memory while this is multiplied.
    pub next: *const f32,
    pub next_stride: usize,
}

/// y = x · w, or y += x · w, tile by tile. x: [rows, steps], w: [steps, 16 · vectors], y: [rows, 16 · vectors].
///
/// # Safety
/// y with stride `y_stride` must lie inside its buffer. (x and w are checked here.)
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) unsafe fn tiles<L: Lanes>(
    lanes: L,
    rows: usize,
    steps: usize,
    x: MatrixRef<'_>,
    panel: Panel<'_>,
    y: *mut f32,
    y_stride: usize,
    add: bool,
) {
    let Panel { w, vectors, mut next, mut next_stride } = panel;
    if rows == 0 || steps == 0 {
        return;
    }
    assert!(x.values.len() >= (rows - 1) * x.stride + steps);
    assert!(w.values.len() >= (steps - 1) * w.stride + vectors * LANES);
    let mut row = 0;
    while row < rows {
        let tile_rows = match rows - row {
            left if left >= L::TILE_ROWS => L::TILE_ROWS,
            left if left >= 4 => 4,
            left if left >= 2 => 2,
            _ => 1,
        };
        // SAFETY: x and w by the assertions, y by the caller's promise; row + tile_rows ≤ rows.
        unsafe {
            let tile = Tile {
                steps,
                x: x.values.as_ptr().add(row * x.stride),
                x_stride: x.stride,
                w: w.values.as_ptr(),
                w_stride: w.stride,
                next,
                next_stride,
                y: y.add(row * y_stride),
                y_stride,
                add,
            };
            match (tile_rows, vectors) {
                (8, 3) => tile.compute::<L, 8, 3>(lanes),
                (8, 2) => tile.compute::<L, 8, 2>(lanes),
                (8, _) => tile.compute::<L, 8, 1>(lanes),
                (6, _) => tile.compute::<L, 6, 1>(lanes),
                (4, 3) => tile.compute::<L, 4, 3>(lanes),
                (4, 2) => tile.compute::<L, 4, 2>(lanes),
                (4, _) => tile.compute::<L, 4, 1>(lanes),
                (2, 3) => tile.compute::<L, 2, 3>(lanes),
                (2, 2) => tile.compute::<L, 2, 2>(lanes),
                (2, _) => tile.compute::<L, 2, 1>(lanes),
                (_, 3) => tile.compute::<L, 1, 3>(lanes),
                (_, 2) => tile.compute::<L, 1, 2>(lanes),
                (_, _) => tile.compute::<L, 1, 1>(lanes),
            }
        }
        row += tile_rows;
        // once is enough
        (next, next_stride) = (w.values.as_ptr(), 0);
    }
}

/// One tile of the output, held in registers while the steps go by.
struct Tile {
    steps: usize,
    x: *const f32,
    x_stride: usize,
    w: *const f32,
    w_stride: usize,
    next: *const f32,
    next_stride: usize,
    y: *mut f32,
    y_stride: usize,
    /// Continue the chains that y holds, or start at zero.
    add: bool,
}

impl Tile {
    /// # Safety
    /// x: [ROWS, steps], w: [steps, 16 · VECTORS], y: [ROWS, 16 · VECTORS] must lie inside their buffers.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // a tile reads best by the numbers of its rows and vectors
    unsafe fn compute<L: Lanes, const ROWS: usize, const VECTORS: usize>(&self, lanes: L) {
        // SAFETY (whole body): the caller's promise.
        unsafe {
            let y = |row: usize, vector: usize| self.y.add(row * self.y_stride + vector * LANES);
            let mut sums = [[lanes.splat(0.0); VECTORS]; ROWS];
            if self.add {
                for row in 0..ROWS {
                    for vector in 0..VECTORS {
                        sums[row][vector] = lanes.load(y(row, vector));
                    }
                }
            }
            let (mut x, mut w, mut next) = (self.x, self.w, self.next);
            for _ in 0..self.steps {
                (0..VECTORS).for_each(|vector| lanes.prefetch(next.wrapping_add(vector * LANES)));
                next = next.wrapping_add(self.next_stride);
                let columns: [L::Vector; VECTORS] = std::array::from_fn(|vector| lanes.load(w.add(vector * LANES)));
                for row in 0..ROWS {
                    let value = lanes.splat(*x.add(row * self.x_stride));
                    for vector in 0..VECTORS {
                        sums[row][vector] = lanes.multiply_add(value, columns[vector], sums[row][vector]);
                    }
                }
                x = x.wrapping_add(1);
                w = w.wrapping_add(self.w_stride);
            }
            for row in 0..ROWS {
                for vector in 0..VECTORS {
                    lanes.store(sums[row][vector], y(row, vector));
                }
            }
        }
    }
}

#[inline(always)]
fn multiply_of<L: Lanes>(
    lanes: L,
    (rows, steps, columns): (usize, usize, usize),
    x: MatrixRef<'_>,
    w: MatrixRef<'_>,
    y: MatrixMut<'_>,
    add: bool,
) {
    assert!(columns.is_multiple_of(LANES), "{columns} columns are not whole vectors");
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(y.values.len() >= (rows - 1) * y.stride + columns);
    let mut column = 0;
    while column < columns {
        // four vectors left: two and two are better than three and one
        let vectors = match (columns - column) / LANES {
            1 => 1,
            2 | 4 => 2,
            _ => 3,
        };
        let vectors = vectors.min(L::TILE_VECTORS);
        let w = MatrixRef { values: &w.values[column..], stride: w.stride };
        let panel = Panel { w, vectors, next: w.values.as_ptr(), next_stride: 0 };
        // SAFETY: y by the assertion above, column + 16 · vectors ≤ columns.
        unsafe {
            let to = y.values.as_mut_ptr().add(column);
            tiles::<L>(lanes, rows, steps, x, panel, to, y.stride, add);
        }
        column += vectors * LANES;
    }
}

for_each_instruction_set! {
    fn multiply_with(sizes: (usize, usize, usize), x: MatrixRef<'_>, w: MatrixRef<'_>, y: MatrixMut<'_>, add: bool) = multiply_of
}

/// y = x · w for small matrices, as attention has them. Sizes are (rows, steps, columns); columns in whole vectors.
pub fn multiply(
    instructions: Instructions,
    sizes: (usize, usize, usize),
    x: MatrixRef<'_>,
    w: MatrixRef<'_>,
    y: MatrixMut<'_>,
) {
    multiply_with(instructions, sizes, x, w, y, false);
}

/// y += x · w: continues the chains that y holds.
pub fn multiply_add(
    instructions: Instructions,
    sizes: (usize, usize, usize),
    x: MatrixRef<'_>,
    w: MatrixRef<'_>,
    y: MatrixMut<'_>,
) {
    multiply_with(instructions, sizes, x, w, y, true);
}
