//! The process that is killed.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::scene::Scene;
use crate::world::nginx_or_skip;

/// Longer than anything that works takes, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A crash-host that runs.
pub(super) struct Host {
    child: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    /// Where users come in.
    pub(super) address: SocketAddr,
    /// The label of its containers.
    pub(super) installation: String,
}

impl Host {
    pub(super) async fn start(scene: &Scene, world: &str) -> Self {
        let mut host = Self::launch(scene, world, None);
        let ready = host.answer().await.expect("the host died before it was ready");
        let (address, installation) = ready.strip_prefix("ready ").unwrap().split_once(' ').unwrap();
        host.address = address.parse().unwrap();
        host.installation = installation.to_owned();
        host
    }

    /// Starts one that dies before it is ready.
    pub(super) fn doomed(scene: &Scene, world: &str, point: &str) -> Self {
        Self::launch(scene, world, Some(point))
    }

    fn launch(scene: &Scene, world: &str, die: Option<&str>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crash-host"));
        command.arg(scene.state()).arg(world).arg(scene.listen(world).to_string());
        command.arg(scene.ports().start().to_string()).arg(scene.ports().end().to_string()).args(die);
        if let Some(nginx) = nginx_or_skip() {
            command.env("QUARK_TEST_NGINX", nginx);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let commands = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, commands, answers, address: scene.listen(world), installation: String::new() }
    }

    pub(super) async fn tell(&mut self, command: &str) {
        self.commands.write_all(format!("{command}\n").as_bytes()).await.unwrap();
    }

    /// The next line that it says; `None` when it has died.
    pub(super) async fn answer(&mut self) -> Option<String> {
        tokio::time::timeout(PATIENCE, self.answers.next_line()).await.expect("no answer").unwrap()
    }

    pub(super) async fn ask(&mut self, command: &str) -> String {
        self.tell(command).await;
        self.answer().await.unwrap_or_else(|| panic!("it died of `{command}`"))
    }

    pub(super) async fn end(mut self) {
        drop(self.commands);
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        assert!(status.success(), "{status}");
    }

    /// Waits for its death by SIGKILL.
    pub(super) async fn died(mut self) {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it did not die").unwrap();
        assert_eq!(status.signal(), Some(9), "it ended otherwise: {status}");
    }
}
