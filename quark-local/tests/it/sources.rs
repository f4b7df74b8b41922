//! What source trees may and may not hold.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use quark_core::ErrorKind;
use quark_core::backend::{ImageBuilder, NoLog};

use crate::stage::{Lines, Stage, key_of};

const START: &str = "[start]\ncommand = ['./server']";
const SERVER: (&str, &str) = ("server", "#!/bin/sh\n");

#[tokio::test]
async fn hostile_descriptions_are_refused_and_leave_nothing() {
    let stage = Stage::new();
    let outside = stage.state().with_file_name("pwned");
    let touch = format!("touch {}", outside.display());
    for (file, text, code) in [
        ("quark.toml", format!("[start]\ncommand = './server; {touch}'"), "invalid_quark_toml"),
        ("quark.toml", format!("[start]\ncommand = ['./server; {touch}']"), "command_not_found"),
        ("quark.toml", format!("[start]\ncommand = ['$({touch})']"), "command_not_found"),
        ("quark.toml", "[start]\ncommand = ['../../../../../bin/sh']".to_owned(), "path_escapes_context"),
        ("quark.toml", "[start]\ncommand = ['./server']\nuser = 'root'".to_owned(), "invalid_quark_toml"),
        ("quark.toml", "[build]\nprivileged = true\n[start]\ncommand = ['./server']".to_owned(), "invalid_quark_toml"),
        ("quark.toml", "x".repeat(70_000), "file_too_large"),
        ("quark.toml", "[[".repeat(30_000), "invalid_quark_toml"),
        ("quark.toml", String::new(), "no_start_command"),
        ("Procfile", format!("web: ./server; {touch}"), "invalid_procfile"),
        ("Procfile", format!("web: ./server && {touch}"), "invalid_procfile"),
        ("Procfile", format!("web: ./server `{touch}`"), "invalid_procfile"),
        ("Procfile", format!("web: ./server $({touch})"), "invalid_procfile"),
        ("Procfile", "web: ./server --key $SECRET".to_owned(), "invalid_procfile"),
        ("Procfile", "web: ./server > /etc/passwd".to_owned(), "invalid_procfile"),
        ("Procfile", "web: LD_PRELOAD=./x.so ./server".to_owned(), "invalid_procfile"),
        ("Procfile", "worker: ./server".to_owned(), "no_start_command"),
        ("README", "hello".to_owned(), "no_start_command"),
    ] {
        let source = stage.source(&[(file, &text), SERVER]);
        let error = stage.build(&source, &NoLog).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::InvalidInput, code), "{text:.80}: {error}");
        assert!(stage.builder.find(&key_of(&source)).await.unwrap().is_none());
    }
    assert!(!outside.exists());
    assert_eq!(fs::read_dir(stage.state().join("images")).unwrap().count(), 0);
}

#[tokio::test]
async fn text_that_is_no_text_is_refused() {
    let stage = Stage::new();
    let source = stage.source(&[SERVER]);
    fs::write(source.join("quark.toml"), b"\xff\xfe").unwrap();
    assert_eq!(stage.build(&source, &NoLog).await.unwrap_err().code(), "not_utf8");
}

#[tokio::test]
async fn links_out_of_the_tree_are_refused_and_not_followed() {
    let stage = Stage::new();
    for (link, points_to) in [
        ("quark.toml", "/etc/passwd"),
        ("server", "/bin/sh"),
        ("up", ".."),
        ("deep/er/link", "../../../outside"),
        ("deep/roundabout", "../deep/../../outside"),
        ("git", ".git/config"),
    ] {
        let source = stage.source(&[("quark.toml", START), SERVER, ("deep/er/file", "")]);
        let _ = fs::remove_file(source.join(link));
        symlink(points_to, source.join(link)).unwrap();
        let error = stage.build(&source, &NoLog).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::InvalidInput, "path_escapes_context"), "{link}");
        assert!(error.message().contains(link));
    }
    // Each of the two links looks harmless by itself.
    let source = stage.source(&[("quark.toml", START), SERVER, ("a/b/c/file", "")]);
    symlink("../..", source.join("a/b/to-a")).unwrap();
    symlink("to-a/../../outside", source.join("a/b/sneaky")).unwrap();
    assert_eq!(stage.build(&source, &NoLog).await.unwrap_err().code(), "path_escapes_context");
    assert_eq!(fs::read_dir(stage.state().join("images")).unwrap().count(), 0);
}

#[tokio::test]
async fn the_tree_is_copied_as_it_is_but_without_git() {
    let stage = Stage::new();
    let toml = "[build]\ncommand = ['./check']\n[start]\ncommand = ['bin/server']";
    let check = "#!/bin/sh\nset -e\ntest -x real/server\ntest ! -x data\ntest ! -e .git\ntest ! -e sub/.git\n\
                 test \"$(readlink bin/server)\" = ../real/server\ntest \"$(cat data)\" = hello\necho fine\n";
    let source = stage.source(&[
        ("quark.toml", toml),
        ("check", check),
        ("real/server", "#!/bin/sh\n"),
        ("data", "hello"),
        (".git/config", "secret"),
        ("sub/.git", "gitdir: /"),
        ("bin/keep", ""),
    ]);
    symlink("../real/server", source.join("bin/server")).unwrap();
    let lines = Lines::default();
    let artifact = stage.build(&source, &lines).await.unwrap();
    assert!(lines.all().contains(&"fine".to_owned()));
    assert_eq!(stage.builder.find(&key_of(&source)).await.unwrap(), Some(artifact));
    // What the source says is not changed by the build.
    assert!(source.join(".git/config").exists());
}

#[tokio::test]
async fn nobody_else_can_look_into_the_state() {
    let stage = Stage::new();
    let spec = stage.begin_script("exec sleep 300").await;
    for path in ["", "images", "containers", &format!("containers/{}", spec.name)] {
        let mode = fs::metadata(stage.state().join(path)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{path}");
    }
    for file in ["container.json", "process.json", "stdout.log", "stderr.log"] {
        let mode = fs::metadata(stage.container_file(&spec, file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[tokio::test]
async fn other_files_than_files_are_refused() {
    let stage = Stage::new();
    let source = stage.source(&[("quark.toml", START), SERVER]);
    let _listener = std::os::unix::net::UnixListener::bind(source.join("socket")).unwrap();
    assert_eq!(stage.build(&source, &NoLog).await.unwrap_err().code(), "unsupported_file");
}
