//! Examples in a random order, some at a time.

use super::Random;

/// Goes through all examples in a new random order in each epoch, one batch after the other.
///
/// The order depends on the seed and on nothing else. The last batch of an epoch is smaller when the examples do not
/// divide evenly.
#[derive(Clone, Debug)]
pub struct Batches {
    order: Vec<u32>,
    batch: usize,
    next: usize,
    epoch: u64,
    random: Random,
}

impl Batches {
    /// Batches of `batch` examples, numbered from 0 to `examples - 1`.
    ///
    /// # Panics
    /// When there are no examples, more than 2³², or `batch` is 0.
    pub fn new(examples: usize, batch: usize, seed: u64) -> Self {
        assert!(examples > 0 && batch > 0, "there are no batches of {batch} from {examples} examples");
        let last = u32::try_from(examples - 1).expect("at most 2^32 examples");
        Self { order: (0..=last).collect(), batch, next: examples, epoch: 0, random: Random::seeded(seed) }
    }

    /// The examples of the next batch.
    pub fn next_batch(&mut self) -> &[u32] {
        if self.next == self.order.len() {
            self.random.shuffle(&mut self.order);
            self.next = 0;
            self.epoch += 1;
        }
        let from = self.next;
        self.next = (from + self.batch).min(self.order.len());
        &self.order[from..self.next]
    }

    /// Number of the present epoch; 1 from the first batch on.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether the last batch was the last of its epoch.
    pub fn is_epoch_over(&self) -> bool {
        self.next == self.order.len()
    }

    /// Batches of an epoch.
    pub fn per_epoch(&self) -> usize {
        self.order.len().div_ceil(self.batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_epoch_has_every_example_once_in_an_order_of_its_own() {
        let epoch = |batches: &mut Batches| {
            let mut order = Vec::new();
            for _ in 0..batches.per_epoch() {
                assert!(!batches.is_epoch_over() || order.is_empty());
                order.extend_from_slice(batches.next_batch());
            }
            assert!(batches.is_epoch_over());
            order
        };
        let mut batches = Batches::new(10, 4, 3);
        let first = epoch(&mut batches);
        let second = epoch(&mut batches);
        assert_ne!(first, second);
        assert_eq!(batches.epoch(), 2);
        for order in [&first, &second] {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        }
        assert_eq!(epoch(&mut Batches::new(10, 4, 3)), first);
        assert_ne!(epoch(&mut Batches::new(10, 4, 4)), first);
    }
}
