//! The table of the fault matrix names tests that are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::tidy::{root, rust_files};

/// The folder of the tests, which begins with the table.
const FOLDER: &str = "quark-core/tests/it/fault_matrix";

/// How many rows the matrix has.
const ROWS: usize = 49;

struct Row {
    number: usize,
    /// The file from the root, and the name of the test in it.
    tests: Vec<(PathBuf, String)>,
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(root().join(FOLDER).join("mod.rs")).unwrap();
    let cells = |line: &str| line.strip_prefix("//! | ").map(|rest| rest.split(" | ").map(str::to_owned).collect());
    let lines = text.lines().filter_map(cells);
    lines
        .filter_map(|cells: Vec<String>| Some(Row { number: cells[0].parse().ok()?, tests: tests(&cells[2]) }))
        .collect()
}

/// The tests that a cell names.
fn tests(cell: &str) -> Vec<(PathBuf, String)> {
    let names = cell.split(", ").map(|name| name.trim().trim_matches('`'));
    let parts = names.map(|name| name.split_once("::").unwrap_or_else(|| panic!("`{name}` has no file")));
    parts.map(|(file, test)| (path(file), test.to_owned())).collect()
}

fn path(file: &str) -> PathBuf {
    if file.starts_with("quark-") { PathBuf::from(file) } else { PathBuf::from(FOLDER).join(file) }
}

#[test]
fn every_row_has_its_tests() {
    let rows = rows();
    let numbers: Vec<usize> = rows.iter().map(|row| row.number).collect();
    assert_eq!(numbers, (1..=ROWS).collect::<Vec<_>>());
    let mut faults = Vec::new();
    for (row, (file, test)) in rows.iter().flat_map(|row| row.tests.iter().map(move |test| (row.number, test))) {
        match fs::read_to_string(root().join(file)) {
            Ok(text) if text.contains(&format!("fn {test}(")) => {}
            Ok(_) => faults.push(format!("row {row}: `{test}` is not in {}", file.display())),
            Err(error) => faults.push(format!("row {row}: {}: {error}", file.display())),
        }
    }
    for row in rows {
        let own = format!("row_{:02}_", row.number);
        if !row.tests.iter().any(|(_, test)| test.starts_with(&own)) {
            faults.push(format!("row {} has no test of its own", row.number));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_test_is_in_its_row() {
    let mut listed: BTreeSet<String> = BTreeSet::new();
    for row in rows() {
        let own = format!("row_{:02}_", row.number);
        listed.extend(row.tests.into_iter().map(|(_, test)| test).filter(|test| test.starts_with(&own)));
    }
    let mut written = BTreeSet::new();
    for file in rust_files(&root().join(FOLDER)) {
        let text = fs::read_to_string(file).unwrap();
        let names = text.lines().filter_map(|line| line.trim_start().strip_prefix("async fn row_"));
        written.extend(names.filter_map(|rest| rest.split_once('(')).map(|(name, _)| format!("row_{name}")));
    }
    assert!(written.len() > ROWS);
    assert_eq!(listed, written);
}
