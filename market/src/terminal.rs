//! Text of strangers, made fit to be shown.

/// The text with everything escaped that could move the cursor, turn the direction of writing, or hide.
pub fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_plain(c) { shown.push(c) } else { shown.extend(c.escape_unicode()) }
    }
    shown
}

/// As [`shown`], on one line.
pub fn shown_line(text: &str) -> String {
    shown(text).replace('\n', "\\n")
}

fn is_plain(c: char) -> bool {
    let invisible = matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    );
    c == '\n' || !c.is_control() && !invisible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_deceive_is_escaped() {
        assert_eq!(shown("héllo\nworld 日本"), "héllo\nworld 日本");
        assert_eq!(shown("a\x1b[2Jb\r\u{9b}"), "a\\u{1b}[2Jb\\u{d}\\u{9b}");
        assert_eq!(shown("exe\u{202e}fdp.\u{200b}"), "exe\\u{202e}fdp.\\u{200b}");
        assert_eq!(shown_line("a\nb"), "a\\nb");
    }
}
