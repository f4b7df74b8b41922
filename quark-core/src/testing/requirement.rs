//! `requirement`: what a test needs that may not be there.

use std::io::Write;

/// The value of the variable `env`, which says where the part `name` is that a
/// test needs: `requirement("docker", "QUARK_TEST_DOCKER")`.
///
/// `None` means that the test should return: it is skipped, and standard error
/// says so in a line `skipped: docker (QUARK_TEST_DOCKER is not set)`.
///
/// # Panics
///
/// If the part is missing although `QUARK_TEST_REQUIRE` is `all` or names it
/// in its list, as in `docker,nginx`: then a skip would hide a fault.
#[must_use]
pub fn requirement(name: &str, env: &str) -> Option<String> {
    let value = std::env::var(env).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        let required = std::env::var("QUARK_TEST_REQUIRE").unwrap_or_default();
        assert!(!lists(&required, name), "`{name}` is required by QUARK_TEST_REQUIRE, but {env} is not set");
        // Not `eprintln!`: the test harness hides what that prints for a test
        // that passes, and a skip must be seen.
        let _ = writeln!(std::io::stderr(), "skipped: {name} ({env} is not set)");
    }
    value
}

fn lists(required: &str, name: &str) -> bool {
    required.split(',').map(str::trim).any(|part| part == "all" || part == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_and_lists_are_understood() {
        assert!(lists("all", "docker") && lists("nginx, docker", "docker"));
        assert!(!lists("", "docker") && !lists("nginx", "docker"));
    }

    #[test]
    fn what_is_set_is_used() {
        assert_eq!(requirement("path", "PATH"), std::env::var("PATH").ok());
    }
}
