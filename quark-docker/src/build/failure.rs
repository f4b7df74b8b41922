//! Why a build failed, by what the daemon says.

use quark_core::{Error, ErrorKind};

use super::output::Output;
use crate::error;
use crate::runtime::is_missing_image;

/// What a registry that cannot be reached looks like from a build.
const UNREACHABLE: [&str; 8] = [
    "no such host",
    "connection refused",
    "i/o timeout",
    "no route to host",
    "network is unreachable",
    "TLS handshake timeout",
    "request canceled",
    "toomanyrequests",
];

/// The error for what the daemon said when it gave up.
pub(super) fn explain(said: &str, output: &Output<'_>) -> Error {
    let step = output.step();
    if said.contains("no space left on device") {
        return error::no_space(said);
    }
    if takes_an_image(step) && (is_missing_image(said) || UNREACHABLE.iter().any(|words| said.contains(words))) {
        let message = format!("the image that `{step}` needs cannot be had: {}", error::one_line(said));
        return Error::new(ErrorKind::BuildFailed, message)
            .with_code("base_image_unavailable")
            .with_hint("check its name and tag, and that this machine may pull it from its registry");
    }
    if let Some(code) = exit_code(said) {
        let last = output.last_lines().map(|lines| format!(", after `{lines}`")).unwrap_or_default();
        let message = format!("`{}` ended with exit code {code}{last}", error::one_line(step));
        return Error::new(ErrorKind::BuildFailed, message).with_code("build_step_failed").with_hint(
            if code == "137" {
                "it was killed, probably for its use of memory; see `DockerConfig::with_build_memory`"
            } else {
                "its whole output is in the deployment's log"
            },
        );
    }
    if step.is_empty() {
        return invalid(said);
    }
    let message = format!("`{}` failed: {}", error::one_line(step), error::one_line(said));
    Error::new(ErrorKind::BuildFailed, message)
        .with_code("build_step_failed")
        .with_hint("its whole output is in the deployment's log")
}

/// The error for a Dockerfile that is refused before its first step.
pub(super) fn invalid(said: &str) -> Error {
    Error::new(ErrorKind::BuildFailed, format!("the Dockerfile cannot be used: {}", error::one_line(said)))
        .with_code("dockerfile_invalid")
        .with_hint("the classic builder reads it: no `RUN --mount`, no heredocs, no `# syntax` line")
}

fn takes_an_image(step: &str) -> bool {
    let mut words = step.split_ascii_whitespace();
    words.next().is_some_and(|word| word.eq_ignore_ascii_case("FROM")) || words.any(|word| word.starts_with("--from="))
}

fn exit_code(said: &str) -> Option<&str> {
    let (_, code) = said.rsplit_once("returned a non-zero code: ")?;
    let code = code.trim();
    code.parse::<i32>().is_ok().then_some(code)
}

#[cfg(test)]
mod tests {
    use quark_core::backend::NoLog;

    use super::*;

    #[test]
    fn the_reason_is_named() {
        let lookup = "Get \"https://registry/v2/\": dial tcp: lookup registry on 10.0.0.1:53: no such host";
        for (step, said, code, part) in [
            ("FROM alpine", lookup, "base_image_unavailable", "`FROM alpine`"),
            ("COPY --from=tools:1 /a /b", "pull access denied for tools", "base_image_unavailable", "tools"),
            ("ADD https://example.org/x /x", lookup, "build_step_failed", "no such host"),
            (
                "RUN exit 3",
                "The command '/bin/sh -c exit 3' returned a non-zero code: 3",
                "build_step_failed",
                "code 3",
            ),
            ("COPY a /", "COPY failed: file not found in build context", "build_step_failed", "file not found"),
            ("", "the Dockerfile (Dockerfile) cannot be empty", "dockerfile_invalid", "cannot be empty"),
            ("RUN x", "write /var/x: no space left on device", "no_space", "no disk space"),
        ] {
            let mut output = Output::new(&NoLog);
            if !step.is_empty() {
                output.push(&format!("Step 1/1 : {step}\n"));
            }
            let error = explain(said, &output);
            assert_eq!(error.code(), code, "{said}");
            assert!(error.message().contains(part), "{error}");
        }
    }

    #[test]
    fn the_last_words_of_the_step_are_in_the_message() {
        let mut output = Output::new(&NoLog);
        output.push("Step 2/2 : RUN make\n ---> Running in 0123456789ab\ncc: no input files\n");
        let error = explain("The command '/bin/sh -c make' returned a non-zero code: 2", &output);
        assert_eq!(error.message(), "`RUN make` ended with exit code 2, after `cc: no input files`");
    }
}
