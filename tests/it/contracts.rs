//! Whether each promise of a trait is kept by a case of its suite.

use std::fs;

use super::tidy::{root, rust_files};

/// Promises that no suite can put to the test, and what does.
const ELSEWHERE: [(&str, &str); 1] = [(
    "No credentials appear in arguments, logs, errors or the checked-out tree.",
    "each kind of source has them in a form of its own; for git, `RepositoryUrl` takes none, and the tests of \
     `quark_core::git` look for those of redirects in errors",
)];

#[test]
fn each_line_of_each_contract_is_quoted_by_a_case() {
    for (name, least) in [
        ("analysis_source", 5),
        ("container_runtime", 15),
        ("host_gauge", 4),
        ("image_builder", 3),
        ("metrics_sink", 4),
        ("queue", 13),
        ("router", 13),
        ("source_fetcher", 4),
        ("store", 24),
    ] {
        let source = root().join("quark-core/src");
        let promises = promises(&fs::read_to_string(source.join(format!("backend/{name}.rs"))).unwrap());
        assert!(promises.len() >= least, "{name}: only {} lines of the contract were found", promises.len());
        let suite = rust_files(&source.join("conformance").join(name));
        let quotes: Vec<String> = suite.iter().flat_map(|file| case_docs(&fs::read_to_string(file).unwrap())).collect();
        let kept = |promise: &str| quotes.iter().any(|quote| quote.contains(promise));
        let elsewhere = |promise: &str| ELSEWHERE.iter().any(|(known, _)| *known == promise);
        let unkept: Vec<_> = promises.iter().filter(|promise| !kept(promise) && !elsewhere(promise)).collect();
        assert!(unkept.is_empty(), "{name}: no case of the suite quotes {unkept:#?}");
    }
}

/// The points under `# Contract`, each on one line.
fn promises(source: &str) -> Vec<String> {
    let mut promises: Vec<String> = Vec::new();
    let contract = source.lines().skip_while(|line| *line != "/// # Contract").skip(1);
    for line in contract.map_while(|line| line.strip_prefix("///")) {
        if let Some(promise) = line.strip_prefix(" - ") {
            promises.push(promise.to_owned());
        } else if let (Some(more), Some(promise)) = (line.strip_prefix("   "), promises.last_mut()) {
            promise.push(' ');
            promise.push_str(more);
        }
    }
    promises.iter().map(|promise| without_links(promise)).collect()
}

/// A text as it is read: where its links lead differs from file to file.
fn without_links(text: &str) -> String {
    let mut read = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[') {
        let Some((shown, after)) = link.split_once(']') else { break };
        read.extend([before, shown]);
        let target = after.strip_prefix('(').and_then(|target| target.split_once(')'));
        rest = target.map_or(after, |(_, after)| after);
    }
    read + rest
}

/// What is said about each public function, each on one line.
fn case_docs(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut docs: Vec<&str> = Vec::new();
    for line in source.lines() {
        match line.strip_prefix("///") {
            Some(text) => docs.push(text.trim()),
            None if line.starts_with("#[") => {}
            None => {
                if line.starts_with("pub async fn ") {
                    found.push(without_links(&docs.join(" ")));
                }
                docs.clear();
            }
        }
    }
    found
}
