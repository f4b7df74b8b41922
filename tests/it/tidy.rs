//! Rules of this repository that no compiler checks.

use std::fs;
use std::path::{Path, PathBuf};

/// The most lines that a file may have.
const LONGEST: usize = 500;

/// Programs that are text to the crate that holds them.
const SAMPLES: [&str; 2] = ["quark-core/src/testing/sample_app/main.rs", "tests/fixtures/"];

/// Where a test waits by the clock, and why no event can be waited for.
const WAITS: [(&str, &str); 9] = [
    ("quark-core/tests/it/fault_matrix/stage/world.rs", "a clock on time that passes only when nobody works"),
    ("quark-core/tests/it/runtime_suite_bites.rs", "a runtime whose fault is that it waits for the whole grace time"),
    ("quark-docker/tests/it/world.rs", "asks the daemon again until it has what is expected"),
    ("quark-local/tests/it/proxy/analysis.rs", "answers that are slow, and time that the proxy measures"),
    ("quark-local/tests/it/proxy/bodies.rs", "asks again until what is expected is there"),
    ("quark-local/tests/it/proxy/limits.rs", "a client that is slow on purpose"),
    ("quark-local/tests/it/stage.rs", "asks again until what is expected is there"),
    ("tests/it/crashes/host.rs", "asks the server again until the standby is gone"),
    ("tests/it/crashes/exactly.rs", "asks the engine again until the standby is gone"),
];

/// The folder of the whole repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// All Rust files below a folder, but not what Cargo has built.
pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap_or_default());
        if entry.file_type().unwrap().is_dir() {
            // Cargo marks its folder of results, wherever it is.
            if !name.starts_with('.') && !path.join("CACHEDIR.TAG").exists() {
                found.append(&mut rust_files(&path));
            }
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Each file's path from the root, and its text; without the samples.
fn sources() -> Vec<(String, String)> {
    let files = rust_files(root());
    assert!(files.len() > 50, "only {} files were found", files.len());
    let name = |file: &Path| file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
    let named = files.iter().map(|file| (name(file), fs::read_to_string(file).unwrap()));
    named.filter(|(name, _)| !SAMPLES.iter().any(|sample| name.starts_with(sample))).collect()
}

/// The part of a file that is only compiled for tests.
fn test_code<'a>(name: &str, text: &'a str) -> &'a str {
    if name.starts_with("tests/") || name.contains("/tests/") || name.ends_with("/tests.rs") {
        text
    } else {
        text.split_once("#[cfg(test)]\nmod tests {").map_or("", |(_, tests)| tests)
    }
}

fn assert_no_faults(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn each_file_begins_with_what_it_is() {
    let begins = |text: &str| text.starts_with("//! ") || text.starts_with("#![doc = include_str!(");
    let faults = sources().into_iter().filter(|(_, text)| !begins(text));
    assert_no_faults(&faults.map(|(name, _)| format!("{name} does not begin with `//!`")).collect::<Vec<_>>());
}

#[test]
fn no_file_is_longer_than_one_can_read() {
    let lengths = sources().into_iter().map(|(name, text)| (name, text.lines().count()));
    let faults = lengths.filter(|(_, length)| *length > LONGEST);
    assert_no_faults(&faults.map(|(name, length)| format!("{name} has {length} lines")).collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_for_later_or_left_out() {
    // Put together here, so that this file may be checked as well.
    let marks = [("todo", "!("), ("unimplemented", "!("), ("#[", "ignore"), ("FIX", "ME"), ("XX", "X:")];
    let marks = marks.map(|(start, end)| format!("{start}{end}"));
    let mut faults = Vec::new();
    for (name, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if let Some(mark) = marks.iter().find(|mark| line.contains(mark.as_str())) {
                faults.push(format!("{name}:{} has `{mark}`", number + 1));
            }
        }
    }
    assert_no_faults(&faults);
}

#[test]
fn tests_wait_for_events_and_not_for_time() {
    let mut faults = Vec::new();
    let mut used = Vec::new();
    for (name, text) in sources() {
        // A clock that a test moves by hand may be slept on.
        let waits = ["time::sleep(", "thread::sleep(", " sleep("];
        let code = |line: &&str| !line.trim_start().starts_with("//");
        let found =
            test_code(&name, &text).lines().filter(code).any(|line| waits.iter().any(|wait| line.contains(wait)));
        if found && name != "tests/it/tidy.rs" {
            match WAITS.iter().find(|(file, _)| *file == name) {
                Some((file, _)) => used.push(*file),
                None => {
                    faults.push(format!("{name} sleeps in a test: wait for an event, or list it here with a reason"))
                }
            }
        }
    }
    let unused = WAITS.iter().filter(|(file, _)| !used.contains(file));
    faults.extend(unused.map(|(file, _)| format!("{file} is listed here and does not sleep")));
    assert_no_faults(&faults);
}
