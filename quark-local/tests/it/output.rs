//! What can be read of what containers print.

use futures_util::StreamExt;
use quark_core::LogStream;
use quark_core::backend::{ContainerRuntime, LogSelection};
use quark_core::deployment::LogLine;

use crate::stage::{Stage, call, id, until};

fn of(stream: LogStream, chunks: &[quark_core::backend::LogChunk]) -> Vec<&str> {
    chunks.iter().filter(|chunk| chunk.stream == stream).map(|chunk| chunk.text.as_str()).collect()
}

#[tokio::test]
async fn each_stream_keeps_its_order_and_its_name() {
    let stage = Stage::new();
    let spec = stage
        .begin_script(
            "for i in $(seq 300); do echo out $i; echo err $i >&2; done\nprintf 'no end'\nprintf 'a\\r\\n' >&2",
        )
        .await;
    let printed = stage.output(&spec).await;
    let wanted =
        |name: &str, last: &str| (1..=300).map(|i| format!("{name} {i}")).chain([last.to_owned()]).collect::<Vec<_>>();
    assert_eq!(of(LogStream::Stdout, &printed), wanted("out", "no end"));
    assert_eq!(of(LogStream::Stderr, &printed), wanted("err", "a"));
    // The end of both streams, and of one what the other leaves.
    let tail = async |most| {
        let selection = LogSelection { tail: Some(most), follow: false };
        let lines = stage.runtime.logs(&id(&spec), selection).await.unwrap();
        lines.map(|chunk| chunk.unwrap().text).collect::<Vec<_>>().await
    };
    assert_eq!(tail(4).await, ["out 300", "no end", "err 300", "a"]);
    assert_eq!(tail(0).await, [""; 0]);
    assert_eq!(tail(5000).await.len(), 602);
}

#[tokio::test]
async fn a_stream_that_says_little_leaves_its_share() {
    let stage = Stage::new();
    let spec = stage.begin_script("echo only >&2\nfor i in $(seq 20); do echo out $i; done").await;
    stage.output(&spec).await;
    let selection = LogSelection { tail: Some(10), follow: false };
    let lines: Vec<_> = stage.runtime.logs(&id(&spec), selection).await.unwrap().map(Result::unwrap).collect().await;
    assert_eq!(of(LogStream::Stdout, &lines).len(), 9);
    assert_eq!(of(LogStream::Stderr, &lines), ["only"]);
}

#[tokio::test]
async fn long_lines_and_strange_bytes_are_taken_apart() {
    let stage = Stage::new();
    let exact = LogLine::LONGEST;
    let script = format!(
        "head -c {exact} /dev/zero | tr '\\0' x\necho\nprintf 'y%.0s' $(seq {})\nfor i in $(seq 5000); do printf 'ü'; done\n\
         printf '\\n\\377\\376\\n\\033[2J\\n'",
        1
    );
    let spec = stage.begin_script(&script).await;
    let printed = stage.output(&spec).await;
    let lines = of(LogStream::Stdout, &printed);
    // A line that is just as long as allowed is one line, with no empty one behind it.
    assert_eq!(lines[0], "x".repeat(exact));
    assert!(lines[1].starts_with("yü") && lines[1].len() <= exact && lines[1].len() > exact - 4);
    assert_eq!([lines[1], lines[2]].concat(), format!("y{}", "ü".repeat(5000)), "no character was cut");
    assert_eq!(lines[3], "\u{fffd}\u{fffd}");
    assert_eq!(lines[4], "\u{1b}[2J");
    assert_eq!(lines.len(), 5);
}

#[tokio::test]
async fn a_reader_may_come_before_the_start() {
    let stage = Stage::new();
    let spec = stage.spec(stage.script("echo hello").await, &[]).await;
    stage.runtime.create(&call(), &spec).await.unwrap();
    let (printed, ()) = tokio::join!(stage.output(&spec), async {
        stage.runtime.start(&call(), &id(&spec)).await.unwrap();
    });
    assert_eq!(of(LogStream::Stdout, &printed), ["hello"]);
}

#[tokio::test]
async fn only_the_end_of_a_huge_output_is_read() {
    let stage = Stage::new();
    let spec = stage.begin_script("yes 0123456789abcdef | head -n 1000000\necho last").await;
    until("the last line", async || {
        let selection = LogSelection { tail: Some(1), follow: false };
        let mut lines = stage.runtime.logs(&id(&spec), selection).await.unwrap();
        lines.next().await.is_some_and(|chunk| chunk.unwrap().text == "last")
    })
    .await;
    let printed = stage.output(&spec).await;
    assert_eq!(of(LogStream::System, &printed).len(), 1);
    let lines = of(LogStream::Stdout, &printed);
    assert!(lines.len() < 1_000_000 && lines.len() > 900_000, "{}", lines.len());
    assert!(lines[..lines.len() - 1].iter().all(|line| *line == "0123456789abcdef"), "a line was cut");
}
