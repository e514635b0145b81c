//! Text of strangers, made fit to be shown; notes for and questions to the person at the terminal.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::bail;
use fedmkt_runtime::consent::{printable, printable_lines};

/// A text of several lines with everything escaped that could move the cursor, reorder or hide text.
pub fn shown(text: &str) -> String {
    printable_lines(text)
}

/// As [`shown`], on one line: the ends of lines are escaped as well.
pub fn shown_line(text: &str) -> String {
    printable(text)
}

/// Says something on standard error, as [`shown`]. That nobody can hear it must not end the program, as `eprintln!` would.
pub fn note(what: &str) {
    let _ = writeln!(io::stderr(), "{}", shown(what));
}

/// Asks, unless `yes`.
///
/// # Errors
/// When nobody is there to be asked, or the answer is no.
pub fn agree(yes: bool, question: &str) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        bail!("nobody is there to agree: use --yes");
    }
    // Nobody agrees to what could not be shown.
    write!(io::stderr(), "{question} [y/N] ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => bail!("you did not agree; nothing was sent"),
    }
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
