//! Text of strangers, made fit to be shown.

use fedmkt_runtime::consent::printable;

/// A text of several lines with everything escaped that could move the cursor, reorder or hide text.
pub fn shown(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// As [`shown`], on one line: the ends of lines are escaped as well.
pub fn shown_line(text: &str) -> String {
    printable(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_deceive_is_escaped() {
        assert_eq!(shown("héllo\nworld 日本"), "héllo\nworld 日本");
        assert_eq!(shown("a\x1b[2Jb\r\u{9b}"), "a\\u{1b}[2Jb\\u{d}\\u{9b}");
        assert_eq!(shown_line("exe\u{202e}fdp\n"), "exe\\u{202e}fdp\\u{a}");
    }
}
