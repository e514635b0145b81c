//! What programs say to people.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

/// An error with its causes, each told once: many errors name their cause themselves.
pub fn sentence(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Puts the path that an error is about before it.
pub(crate) fn about(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// A stranger's text made safe for a terminal: whatever could move the cursor, hide or reorder text is escaped.
pub fn printable(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        let hides = matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
        if c.is_control() || hides {
            write!(safe, "{}", c.escape_unicode()).expect("a string takes everything");
        } else {
            safe.push(c);
        }
    }
    safe
}

/// As [`printable`], the ends of lines being kept.
pub fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// Says something on standard error, as [`printable_lines`]. That nobody can hear it must not end a run, as `eprintln!` would.
pub fn note(what: &str) {
    let _ = writeln!(io::stderr(), "{}", printable_lines(what));
}

/// What a stranger says in several lines, made safe for terminals, in pieces that are shorter than a terminal is wide: with a mark before
/// each, none of it looks as if the program said it.
pub fn quoted(text: &str) -> Vec<String> {
    let pieces = |line: &str| -> Vec<String> {
        let line = printable(line);
        // A character that is not ASCII can be two columns wide.
        let most = if line.is_ascii() { 72 } else { 36 };
        let pieces: Vec<String> =
            line.chars().collect::<Vec<_>>().chunks(most).map(|piece| piece.iter().collect()).collect();
        if pieces.is_empty() { vec![String::new()] } else { pieces }
    };
    text.lines().flat_map(pieces).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stranger_says_has_a_mark_before_all_of_it() {
        let long = format!("{}  may leave  nothing", "a".repeat(80));
        assert_eq!(quoted(&format!("one\n\n{long}")), ["one", "", &long[..72], &long[72..]]);
        assert!(quoted(&"\u{5b57}".repeat(100)).iter().all(|piece| piece.chars().count() <= 36));
    }

    #[test]
    fn hostile_text_cannot_rewrite_the_screen() {
        assert_eq!(printable("\u{1b}[2Jfree money\u{202e}\n"), "\\u{1b}[2Jfree money\\u{202e}\\u{a}");
        assert_eq!(printable("Klinik Süd, 心臓"), "Klinik Süd, 心臓");
        assert_eq!(printable_lines("héllo\nworld 日本"), "héllo\nworld 日本");
        assert_eq!(printable_lines("a\u{1b}[2Jb\r\u{9b}"), "a\\u{1b}[2Jb\\u{d}\\u{9b}");
    }
}
