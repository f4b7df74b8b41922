//! The versions of the app that engines die over, and the repository that has
//! them: the same commits each time, so that an image is built once for all.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use quark_core::backend::{BuildKey, BuildRequest, Call, ImageBuilder, NoLog};
use quark_core::deployment::Fence;
use quark_core::testing::sample_app;
use quark_core::{AppName, CommitSha, RelativePath};
use quark_docker::{DockerConfig, DockerRuntime};
use tokio::sync::OnceCell;

use super::docker::{SCENE, VERSION};

/// A version of the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    One,
    Two,
    Three,
    /// Ends as soon as it is started.
    Crashing,
    /// Serves, but is not well.
    Sick,
    /// Each scene has to build its own.
    Slow,
    /// Likewise, and the build has no end.
    Endless,
}

impl Version {
    const ALL: [Self; 7] = [Self::One, Self::Two, Self::Three, Self::Crashing, Self::Sick, Self::Slow, Self::Endless];

    /// What it calls itself. What is not good never serves.
    pub(super) fn number(self) -> &'static str {
        match self {
            Self::One => "1",
            Self::Three => "3",
            _ => "2",
        }
    }

    fn is_shared(self) -> bool {
        !matches!(self, Self::Slow | Self::Endless)
    }

    /// Its files besides the program; `scene` and `hang` are for versions that are not shared.
    fn files(self, scene: &str, hang: &Path) -> Vec<(&'static str, String)> {
        let mut files = vec![("Dockerfile", self.dockerfile(scene))];
        let mut start = vec!["/usr/bin/env".to_owned(), format!("SAMPLE_VERSION={}", self.number())];
        match self {
            Self::Crashing => start.extend(["./server", "--exit", "3"].map(str::to_owned)),
            Self::Sick => start.extend(["SAMPLE_HEALTHY=false", "./server"].map(str::to_owned)),
            _ => start.push("./server".to_owned()),
        }
        let mut plan = format!("[start]\ncommand = {start:?}\n");
        if !self.is_shared() {
            // Stays away for good the first time, and leaves a child behind.
            let hang = hang.display();
            let script = format!("if [ -e {hang} ]; then rm {hang}; sleep 600 & echo line 1; sleep 600; fi\n");
            plan.push_str("[build]\ncommand = [\"sh\", \"build.sh\"]\n");
            files.push(("build.sh", script));
        }
        files.push(("quark.toml", plan));
        files
    }

    fn dockerfile(self, scene: &str) -> String {
        let number = self.number();
        let mut text = format!("FROM scratch\nCOPY server /server\nLABEL {VERSION}={number}\n");
        writeln!(text, "ENV SAMPLE_VERSION={number}").unwrap();
        match self {
            Self::One | Self::Two | Self::Three => text.push_str("CMD [\"/server\"]\n"),
            Self::Crashing => text.push_str("CMD [\"/server\", \"--exit\", \"3\"]\n"),
            Self::Sick => text.push_str("ENV SAMPLE_HEALTHY=false\nCMD [\"/server\"]\n"),
            Self::Slow => {
                writeln!(text, "LABEL {SCENE}={scene}\nRUN [\"/server\", \"--print\", \"1\", \"--exit\", \"0\"]")
                    .unwrap();
                // Steps that are still to come when it has printed its line.
                text.push_str("ENV A=1\nENV B=2\nENV C=3\nCMD [\"/server\"]\n");
            }
            Self::Endless => {
                writeln!(text, "LABEL {SCENE}={scene}\nRUN [\"/server\", \"--print\", \"1\", \"--never-listen\"]")
                    .unwrap();
            }
        }
        text
    }
}

/// Makes a repository with a branch for each version; returns their commits.
pub(super) fn repository(at: &Path, scene: &str, hang: &Path) -> BTreeMap<Version, String> {
    let server = fs::read(sample_app::build().unwrap()).unwrap();
    let mut stream = format!("blob\nmark :1\ndata {}\n", server.len()).into_bytes();
    stream.extend(server);
    for version in Version::ALL {
        // Nothing in it depends on the time or on who runs the tests.
        let head = format!("\ncommit refs/heads/{version:?}\ncommitter test <test@localhost> 1700000000 +0000\n");
        stream.extend(head.into_bytes());
        stream.extend(b"data 7\nversion\nM 100755 :1 server\n");
        for (name, content) in version.files(scene, hang) {
            stream.extend(format!("M 100644 inline {name}\ndata {}\n{content}\n", content.len()).into_bytes());
        }
    }
    let folder = at.to_str().unwrap();
    quark_tests::git(at.parent().unwrap(), &["init", "--quiet", "--bare", folder]).unwrap();
    let mut import = Command::new("git");
    // The program hardly gets smaller.
    import.args(["-c", "core.compression=0", "fast-import", "--quiet"]).current_dir(at).stdin(Stdio::piped());
    let mut import = import.spawn().unwrap();
    import.stdin.take().unwrap().write_all(&stream).unwrap();
    assert!(import.wait().unwrap().success());
    let listed = quark_tests::git(at, &["for-each-ref", "--format=%(refname:short) %(objectname)"]).unwrap();
    let listed: BTreeMap<_, _> = listed.lines().map(|line| line.split_once(' ').unwrap()).collect();
    Version::ALL.map(|version| (version, listed[format!("{version:?}").as_str()].to_owned())).into()
}

/// Builds the images that all tests share, once.
pub(super) async fn build_images(commits: &BTreeMap<Version, String>) {
    static BUILT: OnceCell<()> = OnceCell::const_new();
    BUILT.get_or_init(|| build_all(commits)).await;
}

async fn build_all(commits: &BTreeMap<Version, String>) {
    let socket = std::env::var_os("QUARK_TEST_DOCKER").unwrap();
    let docker = DockerRuntime::connect(DockerConfig::new().with_socket(socket)).await.unwrap();
    let builder = docker.builder();
    let app = AppName::parse("shop").unwrap();
    let dockerfile = RelativePath::dockerfile();
    for (version, commit) in commits.iter().filter(|(version, _)| version.is_shared()) {
        let commit = CommitSha::parse(commit).unwrap();
        let key = BuildKey::of(&app, &commit, &dockerfile);
        if builder.find(&key).await.unwrap().is_some() {
            continue;
        }
        let tree = tempfile::tempdir().unwrap();
        fs::copy(sample_app::build().unwrap(), tree.path().join("server")).unwrap();
        fs::write(tree.path().join("Dockerfile"), version.dockerfile("")).unwrap();
        let request =
            BuildRequest { app: &app, key: &key, commit: &commit, source: tree.path(), dockerfile: &dockerfile };
        let call = Call::new("crash-test", Fence(1), Duration::from_secs(60));
        builder.build(&call, request, &NoLog).await.unwrap();
    }
}
