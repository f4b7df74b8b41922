//! Which crate may depend on what, as Cargo sees it.

use std::collections::BTreeSet;
use std::process::Command;

use super::tidy::root;

/// What only an adapter may bring in.
const NOT_IN_CORE: [&str; 14] = [
    "axum",
    "bollard",
    "handlebars",
    "hyper",
    "hyper-util",
    "pyo3",
    "redis",
    "reqwest",
    "rusqlite",
    "rustls",
    "sqlx",
    "sqlx-core",
    "tower",
    "tower-http",
];

/// Other ways to do what rustls with aws-lc-rs does.
const NOT_ANYWHERE: [&str; 4] = ["native-tls", "openssl", "openssl-sys", "ring"];

/// Crates that are there to bring several adapters together.
const MAY_SEE_ALL: [&str; 1] = ["quark-py"];

#[test]
fn core_needs_no_backend() {
    let found = dependencies(&["-p", "quark-core", "-e", "normal"]);
    assert!(found.contains("tokio"), "the tree was not understood: {found:?}");
    assert_none(&found, &NOT_IN_CORE, "quark-core");
}

#[test]
fn adapters_do_not_know_each_other() {
    let adapters: Vec<String> = std::fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("Cargo.toml").exists())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("quark-") && name != "quark-core" && !MAY_SEE_ALL.contains(&name.as_str()))
        .collect();
    assert!(adapters.len() >= 5, "{adapters:?}");
    for adapter in adapters {
        let mut known = dependencies(&["-p", &adapter, "-e", "normal", "--depth", "1"]);
        known.retain(|name| name.starts_with("quark-") && *name != adapter);
        assert!(known.iter().all(|name| name == "quark-core"), "{adapter} knows {known:?}");
        assert!(known.contains("quark-core"), "{adapter} implements no trait of quark-core");
    }
}

#[test]
fn there_is_one_tls_library() {
    let found = dependencies(&["--workspace", "-e", "normal,build"]);
    assert_none(&found, &NOT_ANYWHERE, "the workspace");
}

fn assert_none(found: &BTreeSet<String>, unwanted: &[&str], whose: &str) {
    let present: Vec<_> = unwanted.iter().filter(|name| found.contains(**name)).collect();
    assert!(present.is_empty(), "{whose} depends on {present:?}; `cargo tree -i NAME` says by way of whom");
}

/// The names in `cargo tree` with these arguments and all features.
fn dependencies(arguments: &[&str]) -> BTreeSet<String> {
    tree(&[&["--all-features"], arguments].concat())
}

/// The names in `cargo tree` with these arguments.
fn tree(arguments: &[&str]) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let done = Command::new(cargo)
        .args(["tree", "--locked", "--offline", "--prefix", "none", "--format", "{p}"])
        .args(arguments)
        // Or the features that one crate asks for could count for another.
        .env("CARGO_RESOLVER_FEATURE_UNIFICATION", "selected")
        .current_dir(root())
        .output()
        .unwrap();
    assert!(done.status.success(), "cargo tree: {}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).unwrap();
    text.lines().filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The first build is part of the first impression.
#[test]
fn the_embedded_quickstart_compiles_no_container_engine_and_no_server() {
    let found = tree(&["-p", "quark-examples", "-e", "normal"]);
    assert!(found.contains("quark-local"), "the tree was not understood: {found:?}");
    let unwanted = [
        "axum",
        "bollard",
        "clap",
        "handlebars",
        "prometheus",
        "redis",
        "reqwest",
        "rustls",
        "sqlx-postgres",
        "utoipa",
    ];
    assert_none(&found, &unwanted, "the quickstart");
}
