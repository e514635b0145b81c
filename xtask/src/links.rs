//! The book's pages: every page is in the summary, and every link of a page leads to a file and heading that are there.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// A link as it stands in a page: where it is and where it leads.
#[derive(Debug, PartialEq, Eq)]
struct Link {
    line: usize,
    to: String,
}

/// Checks the pages in `docs/src` and those at the root of the workspace. Returns how many pages and links were looked at.
///
/// # Errors
/// If a page is not in the summary or a link leads nowhere; the error lists all of them.
pub fn check(workspace: &Workspace) -> Result<(usize, usize)> {
    let book = workspace.root().join("docs/src");
    let mut pages = Vec::new();
    collect(&book, &mut pages)?;
    let mut faults = Vec::new();

    let summary = book.join("SUMMARY.md");
    let text = std::fs::read_to_string(&summary).with_context(|| format!("reading {}", summary.display()))?;
    let listed: BTreeSet<PathBuf> = links(&text).iter().map(|link| normal(&book.join(&link.to))).collect();
    for page in pages.iter().filter(|page| **page != summary && !listed.contains(*page)) {
        faults.push(format!("{} is not in SUMMARY.md", shown(workspace, page)));
    }

    pages.extend(workspace.files("", "md"));
    let mut count = 0;
    for page in &pages {
        let text = std::fs::read_to_string(page)?;
        for link in links(&text) {
            count += 1;
            if let Some(fault) = fault(page, &link.to) {
                faults.push(format!("{}:{}: {fault}", shown(workspace, page), link.line));
            }
        }
    }
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    Ok((pages.len(), count))
}

fn shown(workspace: &Workspace, page: &Path) -> String {
    page.strip_prefix(workspace.root()).unwrap_or(page).display().to_string()
}

fn collect(folder: &Path, pages: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, pages)?;
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    pages.sort();
    Ok(())
}

/// What is wrong with a link of this page, if anything.
fn fault(page: &Path, to: &str) -> Option<String> {
    if to.contains("://") || to.starts_with("mailto:") {
        return None;
    }
    let (file, heading) = match to.split_once('#') {
        Some((file, heading)) => (file, Some(heading)),
        None => (to, None),
    };
    let file = match file {
        "" => page.to_path_buf(),
        file => normal(&page.parent().expect("a page lies in a folder").join(file)),
    };
    if !file.exists() {
        return Some(format!("the link `{to}` leads to no file"));
    }
    let heading = heading?;
    let text = std::fs::read_to_string(&file).ok()?;
    let there = file.extension().is_some_and(|extension| extension == "md") && !anchors(&text).contains(heading);
    there.then(|| format!("the link `{to}` leads to no heading"))
}

/// Lines of a page that are not in a fenced block, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fence = None;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let start = line.trim_start();
        let mark = ["```", "~~~"].into_iter().find(|mark| start.starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (None, None) => return Some((index + 1, line)),
            _ => {}
        }
        None
    })
}

/// Links of the forms `[text](to)` and `[name]: to`.
fn links(text: &str) -> Vec<Link> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let line = without_code(line);
        if let Some((name, to)) = line.strip_prefix('[').and_then(|rest| rest.split_once("]: "))
            && !name.contains(']')
        {
            found.push(Link { line: number, to: to.trim().to_owned() });
        }
        for (place, _) in line.match_indices("](") {
            let rest = &line[place + 2..];
            let end = rest.find([')', ' ']).unwrap_or(rest.len());
            found.push(Link { line: number, to: rest[..end].to_owned() });
        }
    }
    found
}

/// The line with spans of code blanked out.
fn without_code(line: &str) -> String {
    let parts: Vec<&str> = line.split('`').collect();
    let last = parts.len() - 1;
    // An opening mark that is never closed is no code.
    parts.iter().enumerate().map(|(index, part)| if index % 2 == 1 && index != last { "" } else { *part }).collect()
}

/// The names that headings can be linked by: lower case, words joined by hyphens, other marks left out.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        let depth = line.len() - title.len();
        if !(1..=6).contains(&depth) || !title.starts_with(' ') {
            continue;
        }
        let base: String = title
            .trim()
            .chars()
            .filter_map(|letter| match letter {
                ' ' => Some('-'),
                '-' | '_' => Some(letter),
                _ if letter.is_alphanumeric() => Some(letter.to_ascii_lowercase()),
                _ => None,
            })
            .collect();
        let mut name = base.clone();
        let mut again = 0;
        while !names.insert(name.clone()) {
            again += 1;
            name = format!("{base}-{again}");
        }
    }
    names
}

/// The path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(normal.pop()),
            part => normal.push(part),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_outside_code_only() {
        let page = "see [a](b.md#c) and [d](e \"title\"), not `[f](g)`\n```\n[h](i)\n```\n[j]: k.md\n";
        let found: Vec<(usize, String)> = links(page).into_iter().map(|link| (link.line, link.to)).collect();
        assert_eq!(found, [(1, "b.md#c".to_owned()), (1, "e".to_owned()), (5, "k.md".to_owned())]);
    }

    #[test]
    fn headings_have_the_names_that_the_book_gives_them() {
        let names = anchors("# The `run id`, again\n## Twice\n## Twice\n```\n# no heading\n```\n#neither\n");
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["the-run-id-again", "twice", "twice-1"]);
    }

    #[test]
    fn a_link_to_a_missing_file_or_heading_is_a_fault() {
        let folder = std::env::temp_dir().join(format!("xtask-links-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let page = folder.join("page.md");
        std::fs::write(&page, "# Here\n").unwrap();
        assert_eq!(fault(&page, "#here"), None);
        assert_eq!(fault(&page, "../elsewhere/https://"), None);
        assert!(fault(&page, "#there").unwrap().contains("no heading"));
        assert!(fault(&page, "missing.md").unwrap().contains("no file"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
