//! Which requirement has code, which has a test, which has neither: by the numbers cited in comments,
//! texts and the names of tests.

use crate::workspace;
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};

/// Requirements, and faults and attacks to withstand, with what they are about.
const LIST: &str = include_str!("requirements.txt");

/// Prints the table.
pub(crate) fn run() -> Result<()> {
    let mut code: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut tests = code.clone();
    for file in workspace::files()?.into_iter().filter(|f| f.ends_with(".rs") && !f.starts_with("ci/")) {
        let text = std::fs::read_to_string(workspace::root().join(&file))?;
        let (own, test) = split(&file, &text);
        for (part, into) in [(own, &mut code), (test, &mut tests)] {
            for number in numbers(part) {
                into.entry(number).or_default().insert(file.clone());
            }
        }
    }
    println!("{:<7}{:<62}{:>5}{:>6}", "number", "about", "code", "test");
    let (mut both, mut neither, mut total) = (0, 0, 0);
    for line in LIST.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let (number, about) = line.split_once(' ').unwrap_or((line, ""));
        let count = |map: &BTreeMap<String, BTreeSet<String>>| map.get(number).map_or(0, BTreeSet::len);
        let (c, t) = (count(&code), count(&tests));
        total += 1;
        both += u32::from(c > 0 && t > 0);
        neither += u32::from(c + t == 0);
        let shown = |n: usize| if n == 0 { "-".to_owned() } else { n.to_string() };
        println!("{number:<7}{:<62}{:>5}{:>6}", about.trim(), shown(c), shown(t));
    }
    println!("{total} numbers: {both} with code and test, {neither} with neither (figures are files)");
    Ok(())
}

/// A file's own code, and its tests.
fn split<'a>(file: &str, text: &'a str) -> (&'a str, &'a str) {
    if file.starts_with("tests/")
        || file.contains("/tests/")
        || file.ends_with("/tests.rs")
        || file.contains("/benches/")
    {
        return ("", text);
    }
    text.find("#[cfg(test)]").map_or((text, ""), |at| text.split_at(at))
}

/// The numbers that a text cites: `FS-7a`, `F14`, `A1`, `E2`, a range such as `F1-F18`, or in a
/// test's name `fs_7a`.
fn numbers(text: &str) -> BTreeSet<String> {
    let known: Vec<&str> = LIST.lines().filter_map(|l| l.split(' ').next()).collect();
    let mut found = BTreeSet::new();
    for line in text.lines().filter(|l| l.contains("//") || l.contains('"') || l.contains("fn ")) {
        let name =
            line.trim_start().strip_prefix("fn ").map(|n| n.replacen("fs_", "FS-", 9).replace('_', " "));
        let line = name.as_deref().unwrap_or(line).replace('–', "-");
        let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        for word in words {
            if known.contains(&word) {
                found.insert(word.to_owned());
            } else if let Some((first, last)) = word.split_once('-')
                && let (Some(from), Some(to)) =
                    (known.iter().position(|k| *k == first), known.iter().position(|k| *k == last))
                && from <= to
            {
                found.extend(known[from..=to].iter().map(|k| (*k).to_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_where_they_are_cited() {
        let text = "// FS-7a and F1-F3\nlet x = \"A1\";\nlet f1 = F2;\nfn fs_25_a_server_opens() {}";
        let found: Vec<String> = numbers(text).into_iter().collect();
        assert_eq!(found, ["A1", "F1", "F2", "F3", "FS-25", "FS-7a"]);
    }
}
