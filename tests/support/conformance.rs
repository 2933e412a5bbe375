//! Lists of others that tests are held against: they are no part of this repository.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

/// Where they are: `VIADUCT_CONFORMANCE_DIR`, or beside the repository.
pub fn folder() -> PathBuf {
    std::env::var_os("VIADUCT_CONFORMANCE_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance"),
        PathBuf::from,
    )
}

/// A list; `None`, and a word of it: it is not there.
pub fn text(list: &str) -> Option<String> {
    let file = folder().join(list);
    let text = std::fs::read_to_string(&file);
    if text.is_err() {
        say(&format!("\nSKIPPED: conformance: no {}\n", file.display()));
    }
    text.ok()
}

/// Writes past the test harness's capture: whoever ran the tests has to see it.
pub fn say(text: &str) {
    std::io::stderr().write_all(text.as_bytes()).expect("stderr can be written");
}

/// The first words of a list's lines that begin like this; `None`: the list is not there.
pub fn names(list: &str, begin: &str) -> Option<BTreeSet<String>> {
    let text = text(list)?;
    let names = text.lines().filter_map(|line| line.split_whitespace().next());
    Some(names.filter(|name| name.starts_with(begin)).map(str::to_owned).collect())
}

/// The tests of these sources whose names begin like this: see [`crate::named_tests`].
pub fn tested(sources: &[&'static str], begin: &str) -> BTreeSet<String> {
    let lines = sources.iter().flat_map(|source| source.lines());
    let names = lines.filter_map(|line| line.trim().split_once(" => ")).map(|(name, _)| name);
    names.filter(|name| name.starts_with(begin)).map(str::to_owned).collect()
}

/// Makes tests of names that others gave.
#[macro_export]
macro_rules! named_tests {
    ($($name:ident => $test:expr;)*) => {
        $(#[test]
        #[allow(non_snake_case)]
        fn $name() {
            $test
        })*
    };
}
