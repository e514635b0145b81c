//! Matrix multiplication.
//!
//! The element in row i and column j of `c += a b` is computed as `((c + a_i0 b_0j) + a_i1 b_1j) + ...`: in the order of
//! the inner index, with a rounding after each multiplication and each addition. Neither blocking nor vectors change
//! that, because a vector holds neighbouring columns and blocks take up the sum where the one before left it. So all
//! builds on all machines agree to the bit.

use super::lanes::{Group, LANES};

/// Rows of a tile, whose sums are kept in registers.
const TILE_ROWS: usize = 4;
/// Lane groups of a row of a tile.
const TILE_GROUPS: usize = 2;
const TILE_COLUMNS: usize = TILE_GROUPS * LANES;

// Blocks: a packed panel of b (8 KiB) stays in the first cache, a packed block of a in the first or second, a packed
// block of b in the second.
const BLOCK_INNER: usize = 256;
const BLOCK_ROWS: usize = 64;
const BLOCK_COLUMNS: usize = 512;
/// The largest matrix, in values, that is read where it lies.
const UNPACKED: usize = 8192;

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
    let pack_a = rows * inner > UNPACKED;
    let pack_b = b.column_step != 1 || inner * columns > UNPACKED;
    let mut packed_a = Vec::new();
    let mut packed_b = Vec::new();
    for first_column in (0..columns).step_by(BLOCK_COLUMNS) {
        let block_columns = BLOCK_COLUMNS.min(columns - first_column);
        for first_inner in (0..inner).step_by(BLOCK_INNER) {
            let block_inner = BLOCK_INNER.min(inner - first_inner);
            // Columns from here on are read from packed panels, which are padded to whole tiles.
            let packed_from = if pack_b { 0 } else { block_columns / TILE_COLUMNS * TILE_COLUMNS };
            pack_panels(
                &mut packed_b,
                &b.values
                    [(first_inner * b.row_step + (first_column + packed_from) * b.column_step).min(b.values.len())..],
                (block_inner, b.row_step),
                (block_columns - packed_from, b.column_step),
                TILE_COLUMNS,
            );
            for first_row in (0..rows).step_by(BLOCK_ROWS) {
                let block_rows = BLOCK_ROWS.min(rows - first_row);
                let start = first_row * a.row_step + first_inner * a.column_step;
                if pack_a {
                    let (outer, across) = ((block_inner, a.column_step), (block_rows, a.row_step));
                    pack_panels(&mut packed_a, &a.values[start..], outer, across, TILE_ROWS);
                }
                for row in (0..block_rows).step_by(TILE_ROWS) {
                    let tile_rows = TILE_ROWS.min(block_rows - row);
                    let a_rows = if pack_a {
                        RowFactor { values: &packed_a[row * block_inner..], across: 1, along: TILE_ROWS }
                    } else {
                        let values = &a.values[start + row * a.row_step..];
                        RowFactor { values, across: a.row_step, along: a.column_step }
                    };
                    let b_tiles = if pack_b {
                        ColumnFactor { values: &packed_b, next_tile: block_inner * TILE_COLUMNS, along: TILE_COLUMNS }
                    } else {
                        let values = &b.values[first_inner * b.row_step + first_column..];
                        ColumnFactor { values, next_tile: TILE_COLUMNS, along: b.row_step }
                    };
                    let c_rows = &mut c.values[(first_row + row) * c.row_step + first_column..];
                    let whole_tiles = block_columns / TILE_COLUMNS;
                    tiles_of_rows(tile_rows, whole_tiles, block_inner, c_rows, c.row_step, a_rows, b_tiles);
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
/// one. A panel holds, for each inner index, `width` values that are neighbours across, with zeros beyond the end.
#[cfg_attr(all(target_arch = "wasm32", not(feature = "scalar")), target_feature(enable = "simd128"))]
fn pack_panels(packed: &mut Vec<f32>, values: &[f32], outer: (usize, usize), across: (usize, usize), width: usize) {
    let (inner, inner_step) = outer;
    let (length, step) = across;
    packed.clear();
    packed.resize(length.div_ceil(width) * width * inner, 0.0);
    for (panel, first) in packed.chunks_exact_mut(width * inner).zip((0..length).step_by(width)) {
        let count = width.min(length - first);
        if step == 1 {
            for (index, row) in panel.chunks_exact_mut(width).enumerate() {
                row[..count].copy_from_slice(&values[index * inner_step + first..][..count]);
            }
        } else {
            for offset in 0..count {
                let from = values[(first + offset) * step..].iter().step_by(inner_step);
                panel[offset..].iter_mut().step_by(width).zip(from).for_each(|(to, from)| *to = *from);
            }
        }
    }
}

/// What tiles read of the first factor: `across` is the step from row to row, `along` that of the inner index.
#[derive(Clone, Copy)]
struct RowFactor<'a> {
    values: &'a [f32],
    across: usize,
    along: usize,
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
    tiles_of_rows(rows, 1, inner, &mut padded, TILE_COLUMNS, a, b);
    for (padded, c) in padded.chunks_exact(TILE_COLUMNS).zip(c.chunks_mut(c_step)).take(rows) {
        c[..columns].copy_from_slice(&padded[..columns]);
    }
}

#[cfg_attr(all(target_arch = "wasm32", not(feature = "scalar")), target_feature(enable = "simd128"))]
fn tiles_of_rows(
    rows: usize,
    count: usize,
    inner: usize,
    c: &mut [f32],
    c_step: usize,
    a: RowFactor<'_>,
    b: ColumnFactor<'_>,
) {
    match rows {
        1 => tiles::<1>(count, inner, c, c_step, a, b),
        2 => tiles::<2>(count, inner, c, c_step, a, b),
        3 => tiles::<3>(count, inner, c, c_step, a, b),
        _ => tiles::<TILE_ROWS>(count, inner, c, c_step, a, b),
    }
}

/// Neighbouring tiles of the same rows. All sums of a tile stay in registers for one pass over the inner index.
#[cfg_attr(all(target_arch = "wasm32", not(feature = "scalar")), target_feature(enable = "simd128"))]
fn tiles<const ROWS: usize>(
    count: usize,
    inner: usize,
    c: &mut [f32],
    c_step: usize,
    a: RowFactor<'_>,
    b: ColumnFactor<'_>,
) {
    if count == 0 || inner == 0 {
        return;
    }
    assert!((inner - 1) * a.along + (ROWS - 1) * a.across < a.values.len());
    assert!((count - 1) * b.next_tile + (inner - 1) * b.along + TILE_COLUMNS <= b.values.len());
    assert!((ROWS - 1) * c_step + count * TILE_COLUMNS <= c.len());
    for tile in 0..count {
        // SAFETY: by the assertions above, every access lies in its slice: rows are below ROWS, groups below
        // TILE_GROUPS, tiles below `count` and the inner index below `inner`.
        unsafe {
            let c = c.as_mut_ptr().add(tile * TILE_COLUMNS);
            let group = |row: usize, group: usize| row * c_step + group * LANES;
            let mut sums: [[Group; TILE_GROUPS]; ROWS] =
                core::array::from_fn(|row| core::array::from_fn(|index| Group::load(c.add(group(row, index)))));
            let (mut a_at, mut b_at) = (a.values.as_ptr(), b.values.as_ptr().add(tile * b.next_tile));
            for _ in 0..inner {
                let b_row: [Group; TILE_GROUPS] = core::array::from_fn(|index| Group::load(b_at.add(index * LANES)));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let factor = *a_at.add(row * a.across);
                    for (sum, b) in sums.iter_mut().zip(b_row) {
                        *sum = sum.add_scaled(factor, b);
                    }
                }
                a_at = a_at.wrapping_add(a.along);
                b_at = b_at.wrapping_add(b.along);
            }
            for (row, sums) in sums.into_iter().enumerate() {
                for (index, sum) in sums.into_iter().enumerate() {
                    sum.store(c.add(group(row, index)));
                }
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
