//! Images of digits and what they show.

use std::path::Path;

use fedmkt_guest::Error;
use fedmkt_guest::array::Array;

/// Rows and columns of an image.
pub const SIDE: usize = 8;
/// Pixels of an image.
pub const PIXELS: usize = SIDE * SIDE;
/// Digits that there are.
pub const CLASSES: usize = 10;
/// The darkest pixel.
const DARKEST: f32 = 16.0;

/// Images and labels, which stay in their files until they are asked for.
#[derive(Debug)]
pub struct Digits {
    images: Array,
    labels: Array,
}

impl Digits {
    /// Opens `images.npy` (count x 8 x 8, from 0 to 16) and `labels.npy` (count) in a folder.
    ///
    /// # Errors
    /// When they are not there, have another shape, or are not equally many; when a label is not a digit.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let images = Array::open(folder.join("images.npy"))?;
        images.check_example(&[SIDE, SIDE])?;
        let mut labels = Array::open(folder.join("labels.npy"))?;
        labels.check_example(&[])?;
        if images.examples() != labels.examples() {
            let (images, labels) = (images.examples(), labels.examples());
            return Err(Error::refused(format!("there are {images} images and {labels} labels")));
        }
        for example in 0..labels.examples() {
            labels.class(example, CLASSES)?;
        }
        Ok(Self { images, labels })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.images.examples()
    }

    /// Images, with pixels from 0 to 1, and their labels.
    ///
    /// # Errors
    /// When the files cannot be read, or a pixel is not a number from 0 to 16.
    pub fn read(&mut self, examples: &[u32]) -> Result<(Vec<f32>, Vec<usize>), Error> {
        let mut images = vec![0.0; examples.len() * PIXELS];
        let mut labels = Vec::with_capacity(examples.len());
        for (image, &example) in images.chunks_exact_mut(PIXELS).zip(examples) {
            self.images.read(example as usize, image)?;
            for pixel in image {
                if !(0.0..=DARKEST).contains(pixel) {
                    return Err(Error::refused("there is an image with a pixel that is not from 0 to 16"));
                }
                *pixel /= DARKEST;
            }
            labels.push(self.labels.class(example as usize, CLASSES)?);
        }
        Ok((images, labels))
    }

    /// All images and labels.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_all(&mut self) -> Result<(Vec<f32>, Vec<usize>), Error> {
        let all: Vec<u32> = (0..self.count() as u32).collect();
        self.read(&all)
    }
}
