//! Whether each line of a trait's contract is quoted by a case of its suite.

use std::fs;
use std::path::{Path, PathBuf};

/// Checks that each bullet under `# Contract` in `backend/<name>.rs` is the
/// documentation of a case under `conformance/<name>`.
pub(crate) fn each_line_has_a_case(name: &str) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let bullets = bullets(&read(&source.join(format!("backend/{name}.rs"))));
    assert!(bullets.len() > 10, "only {} lines of a contract were found", bullets.len());
    let files = fs::read_dir(source.join("conformance").join(name)).unwrap();
    let documentation: Vec<String> =
        files.map(|file| file.unwrap().path()).flat_map(|path: PathBuf| documented_cases(&read(&path))).collect();
    for bullet in bullets {
        assert!(documentation.contains(&bullet), "no case is there for: {bullet}");
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The bullets of the contract, each on one line.
fn bullets(source: &str) -> Vec<String> {
    let mut bullets: Vec<String> = Vec::new();
    let contract = source.lines().skip_while(|line| *line != "/// # Contract").skip(1);
    for line in contract.map_while(|line| line.strip_prefix("///")) {
        if let Some(bullet) = line.strip_prefix(" - ") {
            bullets.push(bullet.to_owned());
        } else if let (Some(more), Some(bullet)) = (line.strip_prefix("   "), bullets.last_mut()) {
            bullet.push(' ');
            bullet.push_str(more);
        }
    }
    bullets
}

/// The documentation of the public functions, each on one line.
fn documented_cases(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut documentation: Vec<&str> = Vec::new();
    for line in source.lines() {
        if let Some(text) = line.strip_prefix("/// ") {
            documentation.push(text);
        } else {
            if line.starts_with("pub async fn ") {
                found.push(documentation.join(" "));
            }
            documentation.clear();
        }
    }
    found
}
