//! What callgrind writes: the cost of each function itself, by source file.
//!
//! Nearly all of the packet path is inlined into one function; the file that a line comes from tells what of it
//! costs how much.

use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// Instructions by part: `Engine::process, dataplane/engine/src/classify.rs`.
pub(crate) type Parts = BTreeMap<String, f64>;

/// Reads a file of callgrind's; what is DPDK's is left out.
pub(crate) fn read(text: &str) -> Result<Parts> {
    let mut reader = Reader::default();
    for line in text.lines() {
        reader.line(line).with_context(|| format!("in a file of callgrind's: {line}"))?;
    }
    Ok(reader.parts)
}

/// Names stand once; from then on their number does.
#[derive(Default)]
struct Names(BTreeMap<u32, String>);

impl Names {
    /// `(7) name`, or `(7)` again, or a name without a number.
    fn resolve(&mut self, text: &str) -> Option<String> {
        let Some(rest) = text.strip_prefix('(') else { return Some(text.to_owned()) };
        let (number, name) = rest.split_once(')')?;
        let number = number.parse().ok()?;
        if !name.trim().is_empty() {
            self.0.insert(number, name.trim().to_owned());
        }
        self.0.get(&number).cloned()
    }
}

#[derive(Default)]
struct Reader {
    objects: Names,
    files: Names,
    functions: Names,
    object: String,
    file: String,
    function: String,
    /// The next line is the cost of a call, which is its callee's.
    call: bool,
    parts: Parts,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<()> {
        const BAD: &str = "a name is not known";
        if let Some((key, value)) = line.split_once('=')
            && key.bytes().all(|b| b.is_ascii_alphabetic())
        {
            match key {
                "ob" => self.object = self.objects.resolve(value).context(BAD)?,
                "cob" => drop(self.objects.resolve(value).context(BAD)?),
                "fl" | "fi" | "fe" => self.file = self.files.resolve(value).context(BAD)?,
                "cfi" | "cfl" => drop(self.files.resolve(value).context(BAD)?),
                "fn" => self.function = self.functions.resolve(value).context(BAD)?,
                "cfn" => drop(self.functions.resolve(value).context(BAD)?),
                "calls" => self.call = true,
                _ => {}
            }
            return Ok(());
        }
        let first = line.bytes().next().unwrap_or(b' ');
        if !(first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'*')) {
            return Ok(());
        }
        if core::mem::take(&mut self.call) {
            return Ok(());
        }
        let Some(cost) = line.split_whitespace().nth(1) else { return Ok(()) };
        if !self.is_of_dpdk() {
            let part = format!("{}, {}", function(&self.function), file(&self.file));
            *self.parts.entry(part).or_default() += cost.parse::<f64>().context("not a cost")?;
        }
        Ok(())
    }

    /// Whether the lines are DPDK's: of its libraries, or of its archives in the program, which alone have no source there.
    fn is_of_dpdk(&self) -> bool {
        self.object.contains("librte_") || self.file == "???" && !self.object.contains(".so")
    }
}

/// `Engine::process` of `dataplane_engine::engine::Engine::process`; generics and traits stay.
fn function(name: &str) -> String {
    let mut short = String::new();
    let mut word = String::new();
    for c in name.chars() {
        if c.is_alphanumeric() || matches!(c, '_' | ':') {
            word.push(c);
        } else {
            short.push_str(last_two(&word));
            short.push(c);
            word.clear();
        }
    }
    short.push_str(last_two(&word));
    short
}

fn last_two(path: &str) -> &str {
    let mut parts = path.rmatch_indices("::").skip(1);
    parts.next().map_or(path, |(at, _)| &path[at + 2..])
}

/// From the workspace, the registry's or the library's folder on.
fn file(name: &str) -> &str {
    for (mark, behind) in [("/registry/src/", 1), ("/rustc/", 1)] {
        if let Some((_, rest)) = name.split_once(mark) {
            return rest.splitn(behind + 1, '/').last().unwrap_or(rest);
        }
    }
    for folder in ["dataplane/", "ffi/", "tests/"] {
        if let Some(at) = name.find(folder) {
            return &name[at..];
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# callgrind format
events: Ir
summary: 100

ob=(1) /x/flowswitch-bench
fl=(1) dataplane/engine/src/engine.rs
fn=(1) dataplane_engine::engine::Engine::process
10 5
+2 3
fi=(2) /w/dataplane/wire/src/layers.rs
7 20
cfi=(3) /rustc/0123/library/core/src/num/mod.rs
cfn=(2) core::num::add
calls=4 10
8 400
fe=(1)
11 2

fl=(3)
fn=(2)
* 7

fl=(4) ???
fn=(3) rte_pktmbuf_free
0 1000

ob=(2) /usr/lib/librte_eal.so.23
fn=(4) rte_something
0 1000

ob=(3) /usr/lib/libc.so.6
fn=(5) memcpy
0 9
";

    #[test]
    fn a_functions_own_cost_goes_by_file() {
        let parts = read(TEXT).unwrap();
        let expected: Parts = [
            ("Engine::process, dataplane/engine/src/engine.rs", 10.0),
            ("Engine::process, dataplane/wire/src/layers.rs", 20.0),
            ("num::add, library/core/src/num/mod.rs", 7.0),
            ("memcpy, ???", 9.0),
        ]
        .map(|(name, cost)| (name.to_owned(), cost))
        .into();
        assert_eq!(parts, expected);
    }

    #[test]
    fn names_are_short() {
        assert_eq!(
            function("<ffi_dpdk::ports::DpdkPorts as dataplane_port::Ports>::dispatch"),
            "<ports::DpdkPorts as dataplane_port::Ports>::dispatch"
        );
        assert_eq!(
            file("/root/.cargo/registry/src/index.crates.io-1/rtrb-0.4.0/src/lib.rs"),
            "rtrb-0.4.0/src/lib.rs"
        );
    }
}
