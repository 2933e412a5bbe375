//! Keeps the ladder of `src/lib.rs`: who may depend on whom, how long a file and a function may be, and
//! where `unsafe` may stand.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each module of `src` may use; dependencies point down this list and nowhere else.
const ARROWS: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("hardware", &[]),
    ("net", &[]),
    ("drop_reason", &[]),
    ("status", &[]),
    ("random", &[]),
    ("swar", &[]),
    ("tls", &["limits"]),
    ("websocket", &["limits"]),
    ("dns", &["limits", "net", "random"]),
    ("group", &["limits", "net", "random", "tls"]),
    ("fib", &["limits", "net"]),
    ("rules", &["limits", "net", "status", "swar"]),
    ("overload", &["limits", "net", "rules"]),
    ("stream", &["limits", "net", "random", "tls", "websocket"]),
    ("plan", &["dns", "fib", "group", "limits", "net", "overload", "rules", "stream", "tls", "websocket"]),
    ("token", &["limits", "net"]),
    ("egress", &["fib", "hardware", "limits", "net", "plan", "rules", "swar", "token"]),
    ("findings", &["dns", "egress", "fib", "limits", "net", "plan", "rules"]),
    ("snapshot", &["dns", "egress", "fib", "group", "limits", "net", "plan", "token"]),
    ("rewrite", &["limits", "net"]),
    ("transaction", &["limits", "net", "overload", "rewrite", "status", "stream", "tls", "token"]),
    (
        "proxy",
        &[
            "dns",
            "drop_reason",
            "egress",
            "fib",
            "group",
            "limits",
            "net",
            "overload",
            "plan",
            "rewrite",
            "rules",
            "snapshot",
            "stream",
            "swar",
            "tls",
            "token",
            "transaction",
        ],
    ),
    (
        "metrics",
        &[
            "dns",
            "drop_reason",
            "egress",
            "findings",
            "group",
            "limits",
            "net",
            "overload",
            "plan",
            "stream",
            "tls",
            "transaction",
            "websocket",
        ],
    ),
    ("engine", &["hardware", "limits", "metrics", "net", "plan", "random", "stream"]),
    (
        "shard",
        &[
            "dns",
            "drop_reason",
            "egress",
            "engine",
            "fib",
            "group",
            "limits",
            "metrics",
            "net",
            "overload",
            "plan",
            "proxy",
            "snapshot",
            "stream",
            "tls",
            "transaction",
        ],
    ),
    (
        "config",
        &[
            "dns",
            "egress",
            "fib",
            "findings",
            "group",
            "limits",
            "net",
            "overload",
            "plan",
            "rules",
            "status",
            "stream",
            "tls",
            "transaction",
            "websocket",
        ],
    ),
    ("doctor", &["fib", "limits", "net", "plan", "rules"]),
    (
        "control",
        &[
            "config",
            "dns",
            "drop_reason",
            "egress",
            "engine",
            "fib",
            "findings",
            "group",
            "limits",
            "metrics",
            "net",
            "overload",
            "plan",
            "rules",
            "shard",
            "snapshot",
            "tls",
            "token",
        ],
    ),
    (
        "cli",
        &[
            "config",
            "control",
            "dns",
            "doctor",
            "drop_reason",
            "egress",
            "engine",
            "fib",
            "findings",
            "group",
            "limits",
            "metrics",
            "net",
            "plan",
            "proxy",
            "rules",
            "shard",
            "snapshot",
            "stream",
            "token",
            "transaction",
        ],
    ),
];

/// Modules that take bytes, addresses and `now` and return values.
const PURE: &[&str] = &[
    "dns",
    "egress",
    "fib",
    "findings",
    "group",
    "plan",
    "proxy",
    "rewrite",
    "rules",
    "tls",
    "token",
    "transaction",
    "websocket",
];

/// Modules in which `unsafe` may stand.
const UNSAFE_MAY_STAND_IN: &[&str] = &["engine", "control", "cli", "hardware"];

/// Files above [`FILE_LINES`] without their tests, with the length they may not exceed.
const LONG_FILES: &[(&str, usize)] = &[];

/// Functions above [`FUNCTION_LINES`], with the length they may not exceed.
const LONG_FUNCTIONS: &[(&str, usize)] = &[];

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

#[test]
fn dependencies_point_down_the_ladder() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for file in rust_files(&root().join("src")) {
        let module = module_of(&file);
        if module == "lib" || module == "main" {
            continue;
        }
        let Some(allowed) = allowed.get(module.as_str()) else {
            wrong.push(format!("{}: module `{module}` has no place in the ladder", shown(&file)));
            continue;
        };
        for (line, used) in uses(&product_code(&file)) {
            if used != module && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{}:{line}: `{module}` uses `{used}`", shown(&file)));
            }
        }
    }
    assert!(wrong.is_empty(), "against the ladder of src/lib.rs:\n{}", wrong.join("\n"));
}

#[test]
fn the_ladder_has_no_way_back() {
    let mut below = BTreeSet::new();
    for (module, uses) in ARROWS {
        for used in *uses {
            assert!(below.contains(used), "`{module}` may use `{used}`, which does not stand below it");
        }
        below.insert(*module);
    }
}

#[test]
fn every_module_of_the_ladder_exists() {
    for (module, _) in ARROWS {
        let src = root().join("src");
        assert!(
            src.join(module).is_dir() || src.join(format!("{module}.rs")).is_file(),
            "src has no `{module}`"
        );
    }
}

#[test]
fn the_parser_and_the_pure_stages_forbid_unsafe_code() {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    for path in PURE.iter().map(|m| root().join("src").join(m).join("mod.rs")) {
        assert!(read(&path).contains("#![forbid(unsafe_code)]"), "{} may hold unsafe code", shown(&path));
    }
    let parser = root().join("sip-parser/src");
    assert!(read(&parser.join("lib.rs")).contains("#![deny(unsafe_code)]"));
    for file in rust_files(&parser).iter().filter(|file| !file.ends_with("block.rs")) {
        assert!(!read(file).contains("allow(unsafe_code)"), "{} may hold unsafe code", shown(file));
    }
}

#[test]
fn unsafe_stands_only_where_the_kernel_is_spoken_to() {
    for file in rust_files(&root().join("src")) {
        let module = module_of(&file);
        if UNSAFE_MAY_STAND_IN.contains(&module.as_str()) {
            continue;
        }
        for (index, line) in product_code(&file).lines().enumerate() {
            assert!(
                !line.contains("unsafe {") && !line.contains("unsafe fn") && !line.contains("unsafe impl"),
                "{}:{}: unsafe code",
                shown(&file),
                index + 1
            );
        }
    }
}

#[test]
fn files_stay_short() {
    let mut found = Vec::new();
    for file in product_files() {
        let lines = product_code(&file).lines().count();
        if lines > FILE_LINES {
            found.push((shown(&file), lines));
        }
    }
    ratchet("file", FILE_LINES, LONG_FILES, found);
}

#[test]
fn functions_fit_on_a_screen() {
    let mut found = Vec::new();
    for file in product_files() {
        for (name, lines) in functions(&product_code(&file)) {
            if lines > FUNCTION_LINES {
                found.push((format!("{}::{name}", shown(&file)), lines));
            }
        }
    }
    ratchet("function", FUNCTION_LINES, LONG_FUNCTIONS, found);
}

/// Fails where something is longer than it may be, and where the list of exceptions lags behind.
fn ratchet(what: &str, limit: usize, exceptions: &[(&str, usize)], mut found: Vec<(String, usize)>) {
    found.sort_by_key(|(_, lines)| std::cmp::Reverse(*lines));
    let exceptions: BTreeMap<&str, usize> = exceptions.iter().copied().collect();
    let mut wrong = Vec::new();
    for (name, lines) in &found {
        println!("{lines:5} lines: {name}");
        match exceptions.get(name.as_str()) {
            Some(may) if lines <= may => {}
            Some(may) => wrong.push(format!("{name}: {lines} lines, it had {may}")),
            None => wrong.push(format!("{name}: {lines} lines, a {what} has at most {limit}")),
        }
    }
    for (name, may) in exceptions {
        match found.iter().find(|(n, _)| n == name) {
            None => wrong.push(format!("{name}: no longer above {limit} lines, strike it from the list")),
            Some((_, lines)) if *lines + 20 < may => {
                wrong.push(format!("{name}: {lines} lines now, lower its entry of {may}"));
            }
            Some(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The sources of all members, without test files.
fn product_files() -> Vec<PathBuf> {
    ["src", "sip-parser/src", "bench-harness/src"]
        .iter()
        .flat_map(|dir| rust_files(&root().join(dir)))
        .collect()
}

/// All `.rs` files below `dir`, but for `tests.rs` and folders named `tests`.
fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        let entries = fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        for path in entries.map(|entry| entry.expect("a directory entry").path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "tests" {
                    open.push(path);
                }
            } else if name.ends_with(".rs") && name != "tests.rs" && !name.ends_with("_tests.rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The first folder (or file) below `src`.
fn module_of(file: &Path) -> String {
    let inside = file.strip_prefix(root().join("src")).expect("a file of src");
    let first = inside.components().next().expect("a path").as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_string()
}

/// The file up to its trailing `#[cfg(test)] mod …` and without comments; line numbers stay.
fn product_code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let lines: Vec<&str> = text.lines().collect();
    let end = lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{'))
        .unwrap_or(lines.len());
    lines[..end]
        .iter()
        .map(|line| if line.trim_start().starts_with("//") { "" } else { line })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Every module of this crate that the code names by `crate::` or `viaduct::`, with the line.
fn uses(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, after) in code.match_indices("crate::").map(|(at, found)| (at, &code[at + found.len()..])) {
        let line = code[..at].matches('\n').count() + 1;
        if let Some(group) = after.strip_prefix('{') {
            for name in top_level_names(group) {
                found.push((line, name));
            }
        } else {
            let name = identifier(after);
            // `$crate::…!` and macros at the crate's root name no module.
            if !after[name.len()..].starts_with('!') {
                found.push((line, name));
            }
        }
    }
    found
}

/// The names that begin each item of `{a::x, b::{c, d}}`, given what follows the first brace.
fn top_level_names(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let (mut depth, mut item_begins) = (0, true);
    for (at, byte) in group.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => break,
            b'}' => depth -= 1,
            b',' if depth == 0 => item_begins = true,
            b if depth == 0 && item_begins && b.is_ascii_alphabetic() => {
                names.push(identifier(&group[at..]));
                item_begins = false;
            }
            _ => {}
        }
    }
    names
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Name and length in lines of every function; relies on rustfmt's indentation.
fn functions(code: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (begin, line) in lines.iter().enumerate() {
        let indent = &line[..line.len() - line.trim_start().len()];
        let Some(name) = function_name(line.trim_start()) else { continue };
        if line.ends_with(';') || line.trim_end().ends_with("{}") {
            continue;
        }
        let close = format!("{indent}}}");
        let end = lines[begin..].iter().position(|l| *l == close || *l == format!("{indent});"));
        if let Some(length) = end {
            found.push((name, length + 1));
        }
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    let mut rest = line;
    loop {
        if let Some(after) = rest.strip_prefix("fn ") {
            return Some(identifier(after));
        }
        let word = rest.split_whitespace().next()?;
        let qualifier = word.starts_with("pub")
            || ["const", "async", "unsafe", "extern", "\"C\"", "crate)", "super)"].contains(&word);
        if !qualifier {
            return None;
        }
        rest = rest[word.len()..].trim_start();
    }
}

#[test]
fn the_scanner_sees_what_it_should() {
    let code = "use crate::net::Now;\nuse crate::{\n    fib::{Fib, Route},\n    plan::Plan,\n};\nfn f() { crate::egress::auto() }\n";
    let names: Vec<_> = uses(code).into_iter().map(|(line, name)| format!("{line} {name}")).collect();
    assert_eq!(names, ["1 net", "2 fib", "2 plan", "6 egress"]);
    let code =
        "impl A {\n    pub(crate) const fn long(\n        a: u8,\n    ) -> u8 {\n        a\n    }\n}\n";
    assert_eq!(functions(code), [("long".to_string(), 5)]);
}
