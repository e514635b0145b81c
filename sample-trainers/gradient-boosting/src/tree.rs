//! A regression tree of fixed depth.

use crate::table::Table;

/// Questions from the root to a leaf.
pub const DEPTH: usize = 3;
/// Questions of a tree.
pub const QUESTIONS: usize = (1 << DEPTH) - 1;
/// Leaves of a tree.
pub const LEAVES: usize = 1 << DEPTH;

/// Values of a feature that are closer than this are not told apart, as in scikit-learn.
const LEAST_GAP: f64 = 1e-7;

/// A regression tree. The questions after question `n` are `2 n + 1` (yes) and `2 n + 2` (no).
#[derive(Clone, PartialEq, Debug)]
pub struct Tree {
    /// Each asks whether a feature is at most a threshold; `None` leads to yes.
    pub questions: [Option<(usize, f64)>; QUESTIONS],
    /// What the tree says, from all yes to all no.
    pub leaves: [f64; LEAVES],
}

impl Tree {
    /// Grows a tree that predicts `targets`, one for each row of the table. A question leaves at least `least_rows` rows on
    /// either side.
    ///
    /// # Panics
    /// When there is not one target for each row, or there are no rows.
    pub fn grow(table: &Table, targets: &[f64], least_rows: usize) -> Self {
        assert!(targets.len() == table.targets.len() && !targets.is_empty(), "a target for each row");
        let mut tree = Self { questions: [None; QUESTIONS], leaves: [0.0; LEAVES] };
        // All rows begin at the root. Nodes after the questions are leaves.
        let mut places: Vec<Place> = targets.iter().map(|&target| Place { node: 0, target }).collect();
        for node in 0..QUESTIONS {
            tree.questions[node] = best_question(table, &places, node, least_rows);
            for (place, row) in places.iter_mut().zip(table.rows()).filter(|(place, _)| place.node == node) {
                let yes = tree.questions[node].is_none_or(|(feature, threshold)| row[feature] <= threshold);
                place.node = 2 * node + if yes { 1 } else { 2 };
            }
        }
        for (leaf, value) in tree.leaves.iter_mut().enumerate() {
            let (mut sum, mut count) = (0.0, 0u32);
            for place in places.iter().filter(|place| place.node == QUESTIONS + leaf) {
                sum += place.target;
                count += 1;
            }
            *value = if count == 0 { 0.0 } else { sum / f64::from(count) };
        }
        tree
    }

    /// Multiplies all that the tree says.
    pub fn scale(&mut self, factor: f64) {
        self.leaves.iter_mut().for_each(|leaf| *leaf *= factor);
    }

    /// What the tree says of a row of features.
    pub fn predict(&self, row: &[f64]) -> f64 {
        let mut node = 0;
        while node < QUESTIONS {
            let yes = self.questions[node].is_none_or(|(feature, threshold)| row[feature] <= threshold);
            node = 2 * node + if yes { 1 } else { 2 };
        }
        self.leaves[node - QUESTIONS]
    }
}

/// Where a row is, and what is to be predicted of it.
struct Place {
    node: usize,
    target: f64,
}

/// The question that best parts the rows at a node: with the largest product of the numbers of rows on both sides and the
/// square of the difference of their means (Friedman 2001, equation 35). The first one, if there are several.
fn best_question(table: &Table, places: &[Place], node: usize, least_rows: usize) -> Option<(usize, f64)> {
    let at_node = || places.iter().filter(|place| place.node == node).map(|place| place.target);
    let count = at_node().count();
    let total: f64 = at_node().sum();
    // Rows of which all have the same target need no question.
    let spread = at_node().map(|target| (target - total / count as f64).abs()).fold(0.0, f64::max);
    if count < 2 * least_rows || spread < 1e-12 {
        return None;
    }
    let mut best = None;
    let mut most = 0.0;
    for feature in 0..table.features() {
        // Of the rows that were passed: their number, the sum of their targets, and the last one's value.
        let (mut before, mut sum, mut last) = (0, 0.0, 0.0);
        for &(row, value) in table.sorted(feature) {
            let place = &places[row as usize];
            if place.node != node {
                continue;
            }
            if before >= least_rows && count - before >= least_rows && value - last > LEAST_GAP {
                let (yes, no) = (before as f64, (count - before) as f64);
                let difference = sum / yes - (total - sum) / no;
                let gain = yes * no * difference * difference;
                if gain > most {
                    most = gain;
                    let middle = last + (value - last) / 2.0;
                    // Between neighbouring numbers there is none, and the middle may be rounded to the upper one.
                    best = Some((feature, if middle < value { middle } else { last }));
                }
            }
            before += 1;
            sum += place.target;
            last = value;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(values: &[[f64; 2]]) -> Table {
        let columns = ["a", "b", "target"].map(String::from).to_vec();
        Table::new(columns, values.concat(), vec![0.0; values.len()])
    }

    #[test]
    fn the_first_question_parts_what_differs_most() {
        let table = table(&[[1.0, 5.0], [2.0, 5.0], [3.0, 1.0], [4.0, 1.0]]);
        let tree = Tree::grow(&table, &[0.0, 0.0, 10.0, 12.0], 1);
        assert_eq!(tree.questions[0], Some((0, 2.5)));
        // Then the two that still differ.
        assert_eq!(tree.questions[2], Some((0, 3.5)));
        assert_eq!(tree.questions[1], None);
        assert_eq!([1.0, 2.0, 3.0, 4.0].map(|a| tree.predict(&[a, 0.0])), [0.0, 0.0, 10.0, 12.0]);
    }

    #[test]
    fn neighbouring_numbers_are_parted() {
        let values: Vec<[f64; 2]> = [3, 4, 5, 6].map(|units| [1.7e18 + 256.0 * f64::from(units), 0.0]).to_vec();
        for parted in 1..4 {
            let targets: Vec<f64> = (0..4).map(|row| f64::from(row >= parted)).collect();
            let tree = Tree::grow(&table(&values), &targets, 1);
            let predicted: Vec<f64> = values.iter().map(|row| tree.predict(row)).collect();
            assert_eq!(predicted, targets);
        }
    }

    #[test]
    fn equal_values_are_not_parted_and_small_leaves_not_made() {
        let same = table(&[[1.0, 1.0]; 4]);
        assert_eq!(Tree::grow(&same, &[1.0, 2.0, 3.0, 4.0], 1).questions, [None; QUESTIONS]);
        assert_eq!(Tree::grow(&same, &[1.0, 2.0, 3.0, 4.0], 1).predict(&[1.0, 1.0]), 2.5);
        let table = table(&[[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0]]);
        let tree = Tree::grow(&table, &[0.0, 0.0, 0.0, 9.0], 2);
        assert_eq!(tree.questions[0], Some((0, 2.5)));
        assert_eq!(tree.questions[1..], [None; QUESTIONS - 1]);
        let mut halved = tree.clone();
        halved.scale(0.5);
        assert_eq!(halved.predict(&[4.0, 0.0]), 2.25);
    }
}
