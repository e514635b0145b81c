//! Text, read as symbols.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use fedmkt_guest::Error;
use fedmkt_guest::learn::Random;

/// Symbols: the line end and the printable characters of ASCII.
pub const SYMBOLS: usize = 96;

/// The symbol of a byte; the line end is 0.
fn symbol(byte: u8) -> Option<u8> {
    match byte {
        b'\n' => Some(0),
        b' '..=b'~' => Some(byte - b' ' + 1),
        _ => None,
    }
}

/// A text file, of which parts are read when they are needed.
#[derive(Debug)]
pub struct Text {
    name: String,
    file: File,
    symbols: u64,
}

impl Text {
    /// Opens a file and looks whether it is text of at least `least` characters.
    ///
    /// # Errors
    /// When it cannot be read, is too short, or has other characters than printable ASCII and line ends.
    pub fn open(path: &Path, least: usize) -> Result<Self, Error> {
        let name = path.display().to_string();
        let unreadable = |error| Error::refused(format!("{name} cannot be read: {error}"));
        let file = File::open(path).map_err(unreadable)?;
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let (mut symbols, mut line, mut column) = (0u64, 1u64, 1u64);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = reader.read(&mut buffer).map_err(unreadable)?;
            if count == 0 {
                break;
            }
            for &byte in &buffer[..count] {
                if symbol(byte).is_none() {
                    return Err(Error::refused(format!(
                        "{name}, line {line}, column {column}: the byte {byte:#04x} is neither printable ASCII nor a \
                         line end"
                    )));
                }
                (line, column) = if byte == b'\n' { (line + 1, 1) } else { (line, column + 1) };
            }
            symbols += count as u64;
        }
        if symbols < least as u64 {
            return Err(Error::refused(format!("{name} has {symbols} characters, at least {least} are needed")));
        }
        Ok(Self { name, file: reader.into_inner(), symbols })
    }

    /// Number of characters.
    pub fn len(&self) -> u64 {
        self.symbols
    }

    /// Whether there are no characters.
    pub fn is_empty(&self) -> bool {
        self.symbols == 0
    }

    /// Reads symbols from a place on.
    ///
    /// # Errors
    /// When the file cannot be read.
    ///
    /// # Panics
    /// When the text was changed after it was opened.
    pub fn read(&mut self, from: u64, symbols: &mut [u8]) -> Result<(), Error> {
        let read = self.file.seek(SeekFrom::Start(from)).and_then(|_| self.file.read_exact(symbols));
        read.map_err(|error| Error::refused(format!("{} cannot be read: {error}", self.name)))?;
        symbols.iter_mut().for_each(|byte| *byte = symbol(*byte).expect("checked when it was opened"));
        Ok(())
    }
}

/// Windows of a text, and the symbol that follows each of theirs.
#[derive(Clone, Debug)]
pub struct Windows {
    /// Symbols of a window.
    pub length: usize,
    /// The windows, one after the other.
    pub symbols: Vec<usize>,
    /// For each symbol, the one that follows it in the text.
    pub next: Vec<usize>,
}

impl Windows {
    /// Reads windows of `length` symbols that begin at these places.
    ///
    /// # Errors
    /// When the text cannot be read.
    pub fn read(text: &mut Text, length: usize, starts: impl Iterator<Item = u64>) -> Result<Self, Error> {
        let (mut symbols, mut next) = (Vec::new(), Vec::new());
        let mut buffer = vec![0; length + 1];
        for start in starts {
            text.read(start, &mut buffer)?;
            symbols.extend(buffer[..length].iter().map(|&symbol| usize::from(symbol)));
            next.extend(buffer[1..].iter().map(|&symbol| usize::from(symbol)));
        }
        Ok(Self { length, symbols, next })
    }

    /// Reads `count` windows at random places.
    ///
    /// # Errors
    /// When the text cannot be read.
    ///
    /// # Panics
    /// When the text is not longer than a window.
    pub fn random(text: &mut Text, length: usize, count: usize, random: &mut Random) -> Result<Self, Error> {
        let places = (text.len() - length as u64) as usize;
        let starts: Vec<u64> = (0..count).map(|_| random.below(places) as u64).collect();
        Self::read(text, length, starts.into_iter())
    }
}
