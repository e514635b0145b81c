//! The header of a safetensors file: a JSON object that tells of each tensor its type, its shape and where it lies.

use std::fmt::Write;

/// A header.
pub(super) struct Header {
    /// In the order of the data.
    pub(super) entries: Vec<Entry>,
    /// The one key of the metadata that is used. Others are passed over.
    pub(super) note: Option<String>,
}

/// What a header tells of a tensor.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) element: String,
    pub(super) shape: Vec<usize>,
    /// The first byte in the data, and the one after the last.
    pub(super) range: [usize; 2],
}

const METADATA: &str = "__metadata__";
const NOTE: &str = "note";
/// The header is padded with spaces, so that the data begins at a multiple of this many bytes.
const ALIGNMENT: usize = 8;

impl Header {
    /// Reads a header; an error says what is wrong with it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "its header is not UTF-8".to_string())?;
        let mut json = Json { text, at: 0 };
        let mut header = Self { entries: Vec::new(), note: None };
        json.object(|json, name| {
            if name != METADATA {
                // Files have them in order, so that this appends.
                let entry = json.entry(name)?;
                let place = header.entries.partition_point(|other| other.range <= entry.range);
                header.entries.insert(place, entry);
                return Ok(());
            }
            json.object(|json, key| {
                let value = json.string()?;
                if key == NOTE {
                    header.note = Some(value);
                }
                Ok(())
            })
        })?;
        if json.peek().is_some() {
            return Err(format!("there is something after the header, at position {}", json.at));
        }
        Ok(header)
    }

    /// The header's bytes, padded.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut text = String::from("{");
        if let Some(note) = &self.note {
            push_string(&mut text, METADATA);
            text.push_str(":{");
            push_string(&mut text, NOTE);
            text.push(':');
            push_string(&mut text, note);
            text.push('}');
        }
        for Entry { name, element, shape, range } in &self.entries {
            if text.len() > 1 {
                text.push(',');
            }
            push_string(&mut text, name);
            text.push_str(":{\"dtype\":");
            push_string(&mut text, element);
            for (key, numbers) in [("shape", &shape[..]), ("data_offsets", range)] {
                text.push(',');
                push_string(&mut text, key);
                text.push_str(":[");
                for (index, number) in numbers.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(text, "{comma}{number}").expect("a string takes everything");
                }
                text.push(']');
            }
            text.push('}');
        }
        text.push('}');
        let mut bytes = text.into_bytes();
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), b' ');
        bytes
    }
}

fn push_string(text: &mut String, string: &str) {
    text.push('"');
    for c in string.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '\0'..'\u{20}' => write!(text, "\\u{:04x}", c as u32).expect("a string takes everything"),
            _ => text.push(c),
        }
    }
    text.push('"');
}

/// As much of JSON as a header needs. It does not nest deeper than a header does, so hostile text cannot either.
struct Json<'a> {
    text: &'a str,
    at: usize,
}

impl Json<'_> {
    /// The next character after white space, which stays where it is.
    fn peek(&mut self) -> Option<char> {
        let rest = self.text[self.at..].trim_start_matches([' ', '\t', '\n', '\r']);
        self.at = self.text.len() - rest.len();
        rest.chars().next()
    }

    fn expect(&mut self, expected: char) -> Result<(), String> {
        if self.peek() != Some(expected) {
            return Err(format!("{expected:?} is missing at position {} of its header", self.at));
        }
        self.at += expected.len_utf8();
        Ok(())
    }

    /// Whether a list goes on after an element.
    fn goes_on(&mut self, end: char) -> Result<bool, String> {
        if self.peek() == Some(',') {
            self.at += 1;
            return Ok(true);
        }
        self.expect(end).map(|()| false)
    }

    /// Reads an object; `value` reads the value of each key.
    fn object(&mut self, mut value: impl FnMut(&mut Self, String) -> Result<(), String>) -> Result<(), String> {
        self.expect('{')?;
        if self.peek() == Some('}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            let key = self.string()?;
            self.expect(':')?;
            value(self, key)?;
            if !self.goes_on('}')? {
                return Ok(());
            }
        }
    }

    fn entry(&mut self, name: String) -> Result<Entry, String> {
        let (mut element, mut shape, mut range) = (None, None, None);
        self.object(|json, key| {
            match key.as_str() {
                "dtype" => element = Some(json.string()?),
                "shape" => shape = Some(json.numbers()?),
                "data_offsets" => range = json.numbers()?.try_into().ok(),
                other => return Err(format!("a tensor has the unknown property {other:?}")),
            }
            Ok(())
        })?;
        match (element, shape, range) {
            (Some(element), Some(shape), Some(range)) => Ok(Entry { name, element, shape, range }),
            _ => Err(format!("the tensor {name:?} lacks its type, its shape or where it lies")),
        }
    }

    fn numbers(&mut self) -> Result<Vec<usize>, String> {
        let mut numbers = Vec::new();
        self.expect('[')?;
        if self.peek() == Some(']') {
            self.at += 1;
            return Ok(numbers);
        }
        loop {
            self.peek();
            let rest = &self.text[self.at..];
            let length = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let number = rest[..length].parse();
            numbers.push(number.map_err(|_| format!("a whole number is missing at position {}", self.at))?);
            self.at += length;
            if !self.goes_on(']')? {
                return Ok(numbers);
            }
        }
    }

    fn string(&mut self) -> Result<String, String> {
        self.expect('"')?;
        let mut string = String::new();
        loop {
            let mut rest = self.text[self.at..].chars();
            let c = rest.next().ok_or("its header ends within a text")?;
            self.at += c.len_utf8();
            match c {
                '"' => return Ok(string),
                '\\' => {
                    let escape = rest.next().ok_or("its header ends within a text")?;
                    self.at += escape.len_utf8();
                    string.push(match escape {
                        '"' | '\\' | '/' => escape,
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        'b' => '\u{8}',
                        'f' => '\u{c}',
                        'u' => self.unicode()?,
                        _ => return Err(format!("an unknown escape at position {} of its header", self.at)),
                    });
                }
                _ => string.push(c),
            }
        }
    }

    /// The character of a `\u` escape, or of two that form a surrogate pair.
    fn unicode(&mut self) -> Result<char, String> {
        let unit = self.hex()?;
        let code = if (0xd800..0xdc00).contains(&unit) && self.text[self.at..].starts_with("\\u") {
            self.at += 2;
            let low = self.hex()?.wrapping_sub(0xdc00);
            if low >= 0x400 { u32::MAX } else { 0x10000 + ((unit - 0xd800) << 10) + low }
        } else {
            unit
        };
        char::from_u32(code).ok_or_else(|| format!("no character at position {} of its header", self.at))
    }

    fn hex(&mut self) -> Result<u32, String> {
        let digits = self.text.get(self.at..self.at + 4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        self.at += 4;
        let value = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        value.ok_or_else(|| format!("four hexadecimal digits are missing at position {} of its header", self.at - 4))
    }
}
