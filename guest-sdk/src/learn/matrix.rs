//! Matrix multiplication.
//!
//! The element in row i and column j of `c += a b` is computed as `((c + a_i0 b_0j) + a_i1 b_1j) + ...`: in the order of
//! the inner index, with a rounding after each multiplication and each addition. Neither blocking nor vectors change
//! that, because a vector holds neighbouring columns and blocks take up the sum where the one before left it. So all
//! builds on all machines agree to the bit.

use super::lanes::{Factor, Group, LANES};

// A tile's sums are kept in registers, of which machines that matter have sixteen: for four values each, or for one.
/// Rows of a tile.
const TILE_ROWS: usize = if SCALAR { 2 } else { 4 };
/// Lane groups of a row of a tile.
const TILE_GROUPS: usize = if SCALAR { 1 } else { 2 };
/// Whether this build has no vectors.
const SCALAR: bool = cfg!(all(target_arch = "wasm32", feature = "scalar"));
const TILE_COLUMNS: usize = TILE_GROUPS * LANES;

// Blocks: a packed panel of a (16 KiB at most) and one of b (8 KiB) stay in the first cache, and a packed block of each
// (256 KiB) in the second.
const BLOCK_INNER: usize = 256;
const BLOCK_ROWS: usize = 64;
const BLOCK_COLUMNS: usize = 256;
/// The largest matrix, in values, that is read where it lies.
const UNPACKED: usize = 8192;
/// From so many columns on, each value of the first factor is read so often that packing it is worth it for any size.
const MANY_COLUMNS: usize = 64;

/// A matrix in a slice, or a part of one, for reading.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_step: usize,
    column_step: usize,
}

impl<'a> Matrix<'a> {
    /// A matrix whose rows follow one another.
    ///
    /// # Panics
    /// When there are fewer values than `rows * columns`.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::part(values, rows, columns, columns)
    }

    /// A matrix whose rows begin `row_step` values apart.
    ///
    /// # Panics
    /// When a row reaches beyond the values, or into the next.
    pub fn part(values: &'a [f32], rows: usize, columns: usize, row_step: usize) -> Self {
        check_part(values.len(), rows, columns, row_step);
        Self { values, rows, columns, row_step, column_step: 1 }
    }

    /// The same values with rows and columns exchanged; nothing is moved.
    pub fn transposed(self) -> Self {
        Self {
            values: self.values,
            rows: self.columns,
            columns: self.rows,
            row_step: self.column_step,
            column_step: self.row_step,
        }
    }
}

/// A matrix in a slice, or a part of one, for writing.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    values: &'a mut [f32],
    rows: usize,
    columns: usize,
    row_step: usize,
}

impl<'a> MatrixMut<'a> {
    /// A matrix whose rows follow one another.
    ///
    /// # Panics
    /// When there are fewer values than `rows * columns`.
    pub fn new(values: &'a mut [f32], rows: usize, columns: usize) -> Self {
        Self::part(values, rows, columns, columns)
    }

    /// A matrix whose rows begin `row_step` values apart.
    ///
    /// # Panics
    /// When a row reaches beyond the values, or into the next.
    pub fn part(values: &'a mut [f32], rows: usize, columns: usize, row_step: usize) -> Self {
        check_part(values.len(), rows, columns, row_step);
        Self { values, rows, columns, row_step }
    }
}

fn check_part(values: usize, rows: usize, columns: usize, row_step: usize) {
    assert!(columns <= row_step, "rows of {columns} values cannot begin {row_step} apart");
    let end = if rows == 0 || columns == 0 { Some(0) } else { (rows - 1).checked_mul(row_step) };
    let fits = end.is_some_and(|end| end.saturating_add(columns) <= values || rows == 0);
    assert!(fits, "{rows} x {columns} do not fit into {values} values");
}

/// `c += a b`.
///
/// # Panics
/// When the shapes do not fit.
#[cfg_attr(all(target_arch = "wasm32", not(feature = "scalar")), target_feature(enable = "simd128"))]
pub fn multiply_add(c: MatrixMut<'_>, a: Matrix<'_>, b: Matrix<'_>) {
    let (rows, inner, columns) = (a.rows, a.columns, b.columns);
    assert!(
        b.rows == inner && c.rows == rows && c.columns == columns,
        "a is {rows} x {inner}, b {} x {columns}, c {} x {}",
        b.rows,
        c.rows,
        c.columns
    );
    let pack_a = columns >= MANY_COLUMNS || rows * inner > UNPACKED;
    let pack_b = b.column_step != 1 || inner * columns > UNPACKED;
    let mut packed_a = Vec::new();
    let mut packed_b = Vec::new();
    for first_column in (0..columns).step_by(BLOCK_COLUMNS) {
        let block_columns = BLOCK_COLUMNS.min(columns - first_column);
        let whole_tiles = block_columns / TILE_COLUMNS;
        for first_inner in (0..inner).step_by(BLOCK_INNER) {
            let block_inner = BLOCK_INNER.min(inner - first_inner);
            // Columns from here on are read from packed panels, which are padded to whole tiles.
            let packed_from = if pack_b { 0 } else { whole_tiles * TILE_COLUMNS };
            pack_panels::<TILE_COLUMNS, _>(
                &mut packed_b,
                &b.values
                    [(first_inner * b.row_step + (first_column + packed_from) * b.column_step).min(b.values.len())..],
                (block_inner, b.row_step),
                (block_columns - packed_from, b.column_step),
                |&value| value,
            );
            let b_tiles = if pack_b {
                ColumnFactor { values: &packed_b, next_tile: block_inner * TILE_COLUMNS, along: TILE_COLUMNS }
            } else {
                let values = &b.values[first_inner * b.row_step + first_column..];
                ColumnFactor { values, next_tile: TILE_COLUMNS, along: b.row_step }
            };
            for first_row in (0..rows).step_by(BLOCK_ROWS) {
                let block_rows = BLOCK_ROWS.min(rows - first_row);
                let a_values = &a.values[first_row * a.row_step + first_inner * a.column_step..];
                if pack_a {
                    let (outer, across) = ((block_inner, a.column_step), (block_rows, a.row_step));
                    pack_panels::<TILE_ROWS, _>(&mut packed_a, a_values, outer, across, |&value| Factor::new(value));
                }
                for row in (0..block_rows).step_by(TILE_ROWS) {
                    let tile_rows = TILE_ROWS.min(block_rows - row);
                    let a_rows = if pack_a {
                        RowFactor::Panel(&packed_a[row * block_inner..][..TILE_ROWS * block_inner])
                    } else {
                        let values = &a_values[row * a.row_step..];
                        RowFactor::InPlace { values, across: a.row_step, along: a.column_step }
                    };
                    let c_rows = &mut c.values[(first_row + row) * c.row_step + first_column..];
                    tiles_of_rows([tile_rows, block_inner, whole_tiles], c_rows, c.row_step, a_rows, b_tiles);
                    let rest = block_columns % TILE_COLUMNS;
                    if rest > 0 {
                        let done = whole_tiles * TILE_COLUMNS;
                        let values = &packed_b[(done - packed_from) * block_inner..];
                        let b_rest = ColumnFactor { values, next_tile: 0, along: TILE_COLUMNS };
                        padded_tile([tile_rows, block_inner, rest], &mut c_rows[done..], c.row_step, a_rows, b_rest);
                    }
                }
            }
        }
    }
}

/// Copies a block into panels: `outer` is (length, step) of the inner index of the product, `across` that of the other
/// one. A panel holds, for each inner index, `WIDTH` values that are neighbours across, with zeros beyond the end.
#[cfg_attr(all(target_arch = "wasm32", not(feature = "scalar")), target_feature(enable = "simd128"))]
fn pack_panels<const WIDTH: usize, T: Copy>(
    packed: &mut Vec<T>,
    values: &[f32],
    outer: (usize, usize),
    across: (usize, usize),
    packed_form: impl Fn(&f32) -> T,
) {
    let (inner, inner_step) = outer;
    let (length, step) = across;
    packed.clear();
    if inner == 0 || length == 0 {
        return;
    }
    assert!((inner - 1) * inner_step + (length - 1) * step < values.len());
    let (whole, panels) = (length / WIDTH, length.div_ceil(WIDTH));
    packed.reserve(panels * inner * WIDTH);
    let (from, to) = (values.as_ptr(), packed.as_mut_ptr());
    // SAFETY: inner indices are below `inner`, and of each panel no more values are read than are left across: by the
    // assertion above they lie in the slice. All that was reserved is written, and only then belongs to the vector.
    unsafe {
        let copy = |panel: usize, index: usize, count: usize| {
            let from = from.add(index * inner_step + panel * WIDTH * step);
            let to = to.add((panel * inner + index) * WIDTH);
            for offset in 0..WIDTH {
                to.add(offset).write(packed_form(if offset < count { &*from.add(offset * step) } else { &0.0 }));
            }
        };
        if step == 1 {
            // Line by line: a panel is narrower than what a cache reads at once.
            for index in 0..inner {
                (0..whole).for_each(|panel| copy(panel, index, WIDTH));
            }
        } else {
            for panel in 0..whole {
                (0..inner).for_each(|index| copy(panel, index, WIDTH));
            }
        }
        if whole < panels {
            (0..inner).for_each(|index| copy(whole, index, length - whole * WIDTH));
        }
        packed.set_len(panels * inner * WIDTH);
    }
}

/// What tiles read of the first factor.
#[derive(Clone, Copy)]
enum RowFactor<'a> {
    /// A packed panel, of `TILE_ROWS` rows.
    Panel(&'a [Factor]),
    /// The matrix itself: `across` is the step from row to row, `along` that of the inner index.
    InPlace { values: &'a [f32], across: usize, along: usize },
}

/// What tiles read of the second factor: `next_tile` is the step from tile to tile, `along` that of the inner index.
#[derive(Clone, Copy)]
struct ColumnFactor<'a> {
    values: &'a [f32],
    next_tile: usize,
    along: usize,
}

/// A tile that reaches beyond the last column of c. The panel of b is padded; what comes out there is dropped.
#[cfg_attr(all(target_arch = "wasm32", not(feature = "scalar")), target_feature(enable = "simd128"))]
fn padded_tile(
    [rows, inner, columns]: [usize; 3],
    c: &mut [f32],
    c_step: usize,
    a: RowFactor<'_>,
    b: ColumnFactor<'_>,
) {
    let mut padded = [0.0; TILE_ROWS * TILE_COLUMNS];
    for (padded, c) in padded.chunks_exact_mut(TILE_COLUMNS).zip(c.chunks(c_step)).take(rows) {
        padded[..columns].copy_from_slice(&c[..columns]);
    }
    tiles_of_rows([rows, inner, 1], &mut padded, TILE_COLUMNS, a, b);
    for (padded, c) in padded.chunks_exact(TILE_COLUMNS).zip(c.chunks_mut(c_step)).take(rows) {
        c[..columns].copy_from_slice(&padded[..columns]);
    }
}

/// Neighbouring tiles of the same rows.
#[cfg_attr(all(target_arch = "wasm32", not(feature = "scalar")), target_feature(enable = "simd128"))]
fn tiles_of_rows(
    [rows, inner, count]: [usize; 3],
    c: &mut [f32],
    c_step: usize,
    a: RowFactor<'_>,
    b: ColumnFactor<'_>,
) {
    match rows {
        1 => tiles::<1>(inner, count, c, c_step, a, b),
        2 => tiles::<2>(inner, count, c, c_step, a, b),
        3 => tiles::<3>(inner, count, c, c_step, a, b),
        _ => tiles::<TILE_ROWS>(inner, count, c, c_step, a, b),
    }
}

#[cfg_attr(all(target_arch = "wasm32", not(feature = "scalar")), target_feature(enable = "simd128"))]
fn tiles<const ROWS: usize>(
    inner: usize,
    count: usize,
    c: &mut [f32],
    c_step: usize,
    a: RowFactor<'_>,
    b: ColumnFactor<'_>,
) {
    for tile in 0..count {
        let c = &mut c[tile * TILE_COLUMNS..];
        let b_values = &b.values[tile * b.next_tile..];
        match a {
            RowFactor::Panel(panel) => {
                assert!(ROWS <= TILE_ROWS && inner * TILE_ROWS <= panel.len());
                // SAFETY: a tile asks for rows below ROWS and inner indices below `inner` alone.
                let factor = move |row, index| unsafe { *panel.get_unchecked(index * TILE_ROWS + row) };
                multiply_tile::<ROWS>(inner, c, c_step, factor, b_values, b.along);
            }
            RowFactor::InPlace { values, across, along } => {
                assert!((inner - 1) * along + (ROWS - 1) * across < values.len());
                // SAFETY: as above.
                let value = |row, index| unsafe { *values.get_unchecked(row * across + index * along) };
                multiply_tile::<ROWS>(inner, c, c_step, |row, index| Factor::new(value(row, index)), b_values, b.along);
            }
        }
    }
}

/// One tile: `factor` gives the value of the first factor in a row below `ROWS` and at an inner index below `inner`; c and b
/// have steps from row to row. All sums stay in registers for one pass over the inner index. That is why it is not inlined, and
/// takes no structures: nothing of a caller's is in registers beside them, and nothing is passed through memory.
#[inline(never)]
#[cfg_attr(all(target_arch = "wasm32", not(feature = "scalar")), target_feature(enable = "simd128"))]
fn multiply_tile<const ROWS: usize>(
    inner: usize,
    c: &mut [f32],
    c_step: usize,
    factor: impl Fn(usize, usize) -> Factor,
    b: &[f32],
    b_step: usize,
) {
    assert!(inner > 0 && (inner - 1) * b_step + TILE_COLUMNS <= b.len());
    assert!((ROWS - 1) * c_step + TILE_COLUMNS <= c.len());
    let (c, b) = (c.as_mut_ptr(), b.as_ptr());
    // SAFETY: by the assertions above, every access lies in its slice: rows are below ROWS, groups below TILE_GROUPS and the
    // inner index below `inner`.
    unsafe {
        let at = |row: usize, group: usize| row * c_step + group * LANES;
        let mut sums: [[Group; TILE_GROUPS]; ROWS] =
            core::array::from_fn(|row| core::array::from_fn(|group| Group::load(c.add(at(row, group)))));
        let mut add_products = |index: usize| {
            let b = b.add(index * b_step);
            let b_row: [Group; TILE_GROUPS] = core::array::from_fn(|group| Group::load(b.add(group * LANES)));
            for (row, sums) in sums.iter_mut().enumerate() {
                let factor = factor(row, index);
                for (sum, b) in sums.iter_mut().zip(b_row) {
                    *sum = sum.add_scaled(factor, b);
                }
            }
        };
        // With vectors, two in a turn are a tenth faster in Wasmtime. The loop can end after each, so it needs the sums of the
        // first before it reads for the second; else it would put all loads first, and these are more than there are registers.
        // Tiles of fewer rows, which are at the edge, are spared the code; native compilers make vectors of one alone.
        let mut index = 0;
        loop {
            add_products(index);
            index += 1;
            if index == inner {
                break;
            }
            if cfg!(target_arch = "wasm32") && !SCALAR && ROWS == TILE_ROWS {
                add_products(index);
                index += 1;
                if index == inner {
                    break;
                }
            }
        }
        for (row, sums) in sums.into_iter().enumerate() {
            for (group, sum) in sums.into_iter().enumerate() {
                sum.store(c.add(at(row, group)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::Random;

    /// The definition, element by element.
    fn reference(c: &mut [f32], c_step: usize, a: Matrix<'_>, b: Matrix<'_>) {
        for row in 0..a.rows {
            for column in 0..b.columns {
                let mut sum = c[row * c_step + column];
                for inner in 0..a.columns {
                    let product = a.values[row * a.row_step + inner * a.column_step]
                        * b.values[inner * b.row_step + column * b.column_step];
                    sum += product;
                }
                c[row * c_step + column] = sum;
            }
        }
    }

    #[test]
    fn every_shape_and_layout_agrees_with_the_definition_to_the_bit() {
        let mut random = Random::seeded(7);
        let mut shapes: Vec<[usize; 3]> = Vec::new();
        for rows in [1, 3, 4, 5, 9] {
            for columns in [1, 2, 4, 7, 8, 10, 17] {
                shapes.extend([1, 2, 31].map(|inner| [rows, inner, columns]));
            }
        }
        // Beyond the blocks in each direction, with and without packing of either factor.
        shapes.extend([[70, 300, 20], [2, 600, 530], [130, 7, 9], [66, 257, 515], [0, 3, 3], [3, 0, 3], [3, 3, 0]]);
        for [rows, inner, columns] in shapes {
            for layout in 0..8 {
                let (spare_a, spare_b, spare_c) = (layout & 1, layout & 2, if layout & 4 == 0 { 0 } else { 3 });
                let mut values = |count| -> Vec<f32> { (0..count).map(|_| random.uniform() - 0.5).collect() };
                let (a, a_step) = (values(inner * (rows + 1) + rows * inner), inner + spare_a);
                let b_values = values((columns + 2) * (inner + 2));
                let a = if spare_a == 0 {
                    Matrix::new(&a, inner, rows).transposed()
                } else {
                    Matrix::part(&a, rows, inner, a_step)
                };
                let b = if spare_b == 0 {
                    Matrix::new(&b_values, columns, inner).transposed()
                } else {
                    Matrix::part(&b_values, inner, columns, columns + spare_b)
                };
                let c_step = columns + spare_c;
                let mut expected = values(rows * c_step);
                let mut found = expected.clone();
                reference(&mut expected, c_step, a, b);
                multiply_add(MatrixMut::part(&mut found, rows, columns, c_step), a, b);
                let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                assert!(bits(&expected) == bits(&found), "{rows} x {inner} x {columns}, layout {layout}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "a is 2 x 3, b 2 x 3")]
    fn shapes_that_do_not_fit_are_named() {
        let values = [0.0; 6];
        let a = Matrix::new(&values, 2, 3);
        multiply_add(MatrixMut::new(&mut [0.0; 6], 2, 3), a, a);
    }
}
