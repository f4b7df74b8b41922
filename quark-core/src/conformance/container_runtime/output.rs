//! The cases about what containers print and what they are given.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;

use super::bench::{Bench, GRACE, call, lines, run};
use super::fixture::{ProgramKind, RuntimeFixture};
use crate::app::{EnvKey, Secret};
use crate::backend::{ContainerState, LogSelection};
use crate::conformance::CaseResult;
use crate::conformance::outcome::{ensure, within, worked};

/// "What a container prints can be read by `logs`, each line once and in order,
/// also after it has exited."
pub async fn output_is_read_in_order(fixture: &dyn RuntimeFixture) -> CaseResult {
    let bench = &Bench::new(fixture);
    run(bench, async {
        let made = bench.begin(bench.spec(ProgramKind::PrintsAndExits).await?).await?;
        let wanted: Vec<_> = (1..=200).map(|number| format!("line {number}")).collect();
        let followed = bench.lines(&made.id, LogSelection { tail: None, follow: true }).await?;
        same("while it ran", &followed, &wanted)?;
        let state = bench.exited(&made.spec).await?;
        let well = matches!(state, ContainerState::Exited { code: Some(0), .. });
        ensure!(well, "a program that ended with code 0 is {state:?}");
        let another = fixture.another().await;
        for runtime in [&bench.runtime, &another] {
            for follow in [false, true] {
                let all = lines(&**runtime, &made.id, LogSelection { tail: None, follow }).await?;
                same("after its end", &all, &wanted)?;
                let tail = lines(&**runtime, &made.id, LogSelection { tail: Some(5), follow }).await?;
                same("of the last 5 lines", &tail, wanted.get(195..).unwrap_or_default())?;
            }
        }
        Ok(())
    })
    .await
}

fn same(when: &str, seen: &[String], wanted: &[String]) -> CaseResult {
    let different = seen.iter().zip(wanted).position(|(seen, wanted)| seen != wanted);
    let at = different.unwrap_or(seen.len().min(wanted.len()));
    ensure!(
        seen == wanted,
        "{when}, logs yields {} lines instead of {}; number {} is {:?} instead of {:?}",
        seen.len(),
        wanted.len(),
        at + 1,
        seen.get(at),
        wanted.get(at)
    );
    Ok(())
}

/// "Whether to wait for more when the end is reached": until the container has
/// ended, and no longer.
pub async fn following_ends_with_the_container(fixture: &dyn RuntimeFixture) -> CaseResult {
    let bench = &Bench::new(fixture);
    run(bench, async {
        let made = bench.serve(bench.spec(ProgramKind::Serves).await?).await?;
        let follow = LogSelection { tail: None, follow: true };
        let mut reader = worked("logs", within("logs", bench.runtime.logs(&made.id, follow)).await?)?;
        loop {
            let chunk = within("a line that was printed", reader.next()).await?;
            let chunk = chunk.ok_or("following ended although the program runs")?;
            if worked("reading logs", chunk)?.text.starts_with("listening on ") {
                break;
            }
        }
        // Nothing more is printed: the reader waits until the program is stopped.
        let call = call();
        let stop = bench.runtime.stop(&call, &made.id, GRACE);
        let rest = reader.collect::<Vec<_>>();
        tokio::pin!(rest);
        tokio::select! {
            biased;
            early = &mut rest => return Err(format!("following ended with {early:?} although the program runs")),
            () = tokio::task::yield_now() => {}
        }
        let (stopped, ended) = tokio::join!(within("stop", stop), within("the end of following", &mut rest));
        worked("stop", stopped?)?;
        let late = ended?;
        ensure!(late.iter().all(Result::is_ok), "following has failed: {late:?}");
        Ok(())
    })
    .await
}

/// "Variables arrive as given, also with line breaks, and nothing of the
/// engine's own environment does."
pub async fn variables_arrive_as_given(fixture: &dyn RuntimeFixture) -> CaseResult {
    const GIVEN: [(&str, &str); 6] = [
        ("QUARK_PLAIN", "value"),
        ("QUARK_LINES", "first\nADMIN=1\n\nlast\n"),
        ("QUARK_EMPTY", ""),
        ("QUARK_SPACES", "  a  b  "),
        ("QUARK_SIGNS", "'a' \"b\" $HOME ${HOME} `id` $(id) %s * ; = #"),
        ("QUARK_LETTERS", "grüße ✓"),
    ];
    let bench = &Bench::new(fixture);
    run(bench, async {
        let mut spec = bench.spec(ProgramKind::PrintsEnvironment).await?;
        for (key, value) in GIVEN {
            let key = worked("naming a variable", EnvKey::parse(key))?;
            worked("setting a variable", spec.env.set(key, Secret::new(value)))?;
        }
        let made = bench.begin(spec).await?;
        let printed = bench.lines(&made.id, LogSelection { tail: None, follow: true }).await?;
        let seen: BTreeMap<_, _> = printed.iter().filter_map(|line| line.split_once('=')).collect();
        for (key, value) in GIVEN {
            let value = value.replace('\n', "\\n");
            ensure!(seen.get(key) == Some(&value.as_str()), "`{key}` arrived as {:?}", seen.get(key));
        }
        ensure!(!seen.contains_key("ADMIN"), "a line break in a value has made another variable");
        let own: Vec<String> =
            std::env::vars_os().filter_map(|(key, _)| key.into_string().ok()).filter(|key| is_ours(key)).collect();
        ensure!(!own.is_empty(), "this test needs variables of its own, as cargo sets them");
        let leaked: Vec<_> = own.iter().filter(|key| seen.contains_key(key.as_str())).collect();
        ensure!(leaked.is_empty(), "variables of the engine arrived: {leaked:?}");
        Ok(())
    })
    .await
}

/// Whether a variable can only come from this process: images and runtimes
/// have some of the others too.
fn is_ours(key: &str) -> bool {
    const COMMON: [&str; 15] = [
        "PATH", "HOME", "HOSTNAME", "HOST", "PORT", "PWD", "OLDPWD", "SHLVL", "USER", "LOGNAME", "SHELL", "TERM",
        "LANG", "TZ", "TMPDIR",
    ];
    !COMMON.contains(&key) && !key.starts_with("LC_") && !key.starts_with("QUARK_")
}
