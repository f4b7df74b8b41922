//! What of a tree is packed, and what is refused.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use tempfile::TempDir;

use super::*;

const LIMIT: u64 = 1 << 20;

fn tree(files: &[(&str, &str)]) -> TempDir {
    let tree = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = tree.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    tree
}

fn find(tree: &TempDir, dockerfile: &str) -> Result<Context> {
    Context::find(tree.path(), &RelativePath::parse(dockerfile).unwrap(), LIMIT, &AtomicBool::new(false))
}

/// The entries of the archive: `path` -> `kind text`.
fn packed(context: &Context) -> BTreeMap<String, String> {
    let mut bytes = Vec::new();
    context.pack(&mut bytes).unwrap();
    let mut archive = tar::Archive::new(bytes.as_slice());
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        let mode = header.mode().unwrap();
        let what = match header.entry_type() {
            EntryType::Directory => "folder".to_owned(),
            EntryType::Symlink => format!("link {}", entry.link_name().unwrap().unwrap().display()),
            EntryType::Regular => {
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                format!("{mode:o} {text}")
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(found.insert(path, what), None);
    }
    found
}

fn names(context: &Context) -> Vec<String> {
    packed(context).into_keys().collect()
}

#[test]
fn everything_but_git_is_packed_and_links_stay_links() {
    let tree = tree(&[
        ("Dockerfile", "FROM scratch"),
        ("src/main.rs", "fn main() {}"),
        (".git/config", "token"),
        ("vendor/x/.git", "gitdir: /elsewhere"),
        ("run.sh", "x"),
    ]);
    fs::set_permissions(tree.path().join("run.sh"), fs::Permissions::from_mode(0o4711)).unwrap();
    symlink("/etc/passwd", tree.path().join("passwd")).unwrap();
    symlink("/usr", tree.path().join("src/root")).unwrap();
    fs::create_dir(tree.path().join("empty")).unwrap();
    let expected = [
        ("Dockerfile", "644 FROM scratch"),
        ("empty", "folder"),
        ("passwd", "link /etc/passwd"),
        ("run.sh", "755 x"),
        ("src", "folder"),
        ("src/main.rs", "644 fn main() {}"),
        ("src/root", "link /usr"),
        ("vendor", "folder"),
        ("vendor/x", "folder"),
    ];
    let packed = packed(&find(&tree, "Dockerfile").unwrap());
    assert_eq!(packed, expected.map(|(path, what)| (path.to_owned(), what.to_owned())).into());
}

#[test]
fn long_and_odd_names_survive() {
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    let odd = "ü\n☺ \\";
    let tree = tree(&[("Dockerfile", ""), (&long, "1"), (odd, "2")]);
    symlink("t".repeat(300), tree.path().join("l")).unwrap();
    let packed = packed(&find(&tree, "Dockerfile").unwrap());
    assert_eq!(packed.get(&long).map(String::as_str), Some("644 1"));
    assert_eq!(packed.get(odd).map(String::as_str), Some("644 2"));
    assert_eq!(packed.get("l"), Some(&format!("link {}", "t".repeat(300))));
}

#[test]
fn sockets_are_skipped_and_named() {
    let tree = tree(&[("Dockerfile", "")]);
    let _listener = UnixListener::bind(tree.path().join("socket")).unwrap();
    let context = find(&tree, "Dockerfile").unwrap();
    assert_eq!(names(&context), ["Dockerfile"]);
    assert_eq!(context.skipped(), [PathBuf::from("socket")]);
}

#[test]
fn what_is_ignored_is_not_packed() {
    let files = [
        ("Dockerfile", ""),
        ("deploy/Dockerfile", ""),
        ("docs/a.md", ""),
        ("docs/keep/b.md", ""),
        ("src/a.rs", ""),
        ("target/x/y", ""),
    ];
    for (ignore, dockerfile, expected) in [
        (
            "target\ndocs",
            "Dockerfile",
            &[".dockerignore", "Dockerfile", "deploy", "deploy/Dockerfile", "src", "src/a.rs"][..],
        ),
        ("*", "Dockerfile", &[".dockerignore", "Dockerfile"]),
        ("*", "deploy/Dockerfile", &[".dockerignore", "deploy", "deploy/Dockerfile"]),
        ("**\n!docs/keep", "Dockerfile", &[".dockerignore", "Dockerfile", "docs", "docs/keep", "docs/keep/b.md"]),
        ("*\n!**/*.rs", "Dockerfile", &[".dockerignore", "Dockerfile", "src", "src/a.rs"]),
    ] {
        let tree = tree(&files);
        fs::write(tree.path().join(".dockerignore"), ignore).unwrap();
        assert_eq!(names(&find(&tree, dockerfile).unwrap()), expected, "{ignore:?}");
    }
}

#[test]
fn a_dockerfile_must_be_a_plain_file_of_the_tree() {
    let tree = tree(&[("real/Dockerfile", ""), ("file", "")]);
    symlink("/etc/shadow", tree.path().join("shadow")).unwrap();
    symlink("real/Dockerfile", tree.path().join("inside")).unwrap();
    symlink("real", tree.path().join("folder")).unwrap();
    symlink("/nowhere", tree.path().join("dangling")).unwrap();
    for (dockerfile, code) in [
        ("shadow", "path_escapes_context"),
        ("inside", "path_escapes_context"),
        ("folder/Dockerfile", "path_escapes_context"),
        ("dangling", "path_escapes_context"),
        ("Dockerfile", "dockerfile_not_found"),
        ("real", "dockerfile_not_found"),
        ("real/other", "dockerfile_not_found"),
        ("file/Dockerfile", "dockerfile_not_found"),
    ] {
        let error = find(&tree, dockerfile).unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::InvalidInput, code), "{dockerfile}");
    }
    assert!(find(&tree, "real/Dockerfile").is_ok());
}

#[test]
fn a_list_of_ignored_files_is_not_read_through_a_link() {
    let tree = tree(&[("Dockerfile", "")]);
    symlink("/etc/passwd", tree.path().join(".dockerignore")).unwrap();
    assert_eq!(find(&tree, "Dockerfile").unwrap_err().code(), "path_escapes_context");
}

#[test]
fn what_is_too_large_is_refused_before_it_is_read() {
    let tree = tree(&[("Dockerfile", "")]);
    File::create(tree.path().join("big")).unwrap().set_len(LIMIT + 1).unwrap();
    assert_eq!(find(&tree, "Dockerfile").unwrap_err().code(), "context_too_large");
    fs::write(tree.path().join(".dockerignore"), "big").unwrap();
    assert!(find(&tree, "Dockerfile").is_ok());
}

#[test]
fn a_tree_that_is_too_deep_is_refused() {
    let deep = |levels: usize| tree(&[("Dockerfile", ""), (&format!("{}f", "d/".repeat(levels)), "")]);
    assert!(find(&deep(DEEPEST - 1), "Dockerfile").is_ok());
    assert_eq!(find(&deep(1900), "Dockerfile").unwrap_err().code(), "context_too_large");
}

#[test]
fn a_search_that_nobody_waits_for_ends() {
    let tree = tree(&[("Dockerfile", "")]);
    let found = Context::find(tree.path(), &RelativePath::dockerfile(), LIMIT, &AtomicBool::new(true));
    assert_eq!(found.unwrap_err().kind(), ErrorKind::Cancelled);
}

#[test]
fn a_file_that_shrinks_is_an_error_and_one_that_grows_is_cut() {
    let tree = tree(&[("Dockerfile", "0123456789")]);
    let context = find(&tree, "Dockerfile").unwrap();
    fs::write(tree.path().join("Dockerfile"), "0123456789abc").unwrap();
    assert_eq!(packed(&context)["Dockerfile"], "644 0123456789");
    fs::write(tree.path().join("Dockerfile"), "0").unwrap();
    assert_eq!(context.pack(io::sink()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_file_that_became_a_link_is_not_followed() {
    let tree = tree(&[("Dockerfile", "0123456789")]);
    let context = find(&tree, "Dockerfile").unwrap();
    fs::remove_file(tree.path().join("Dockerfile")).unwrap();
    symlink("/etc/passwd", tree.path().join("Dockerfile")).unwrap();
    assert!(context.pack(io::sink()).is_err());
}
