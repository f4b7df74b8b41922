//! `Mark`: the variables by which a process is known to be ours.

use std::path::Path;

use sha2::{Digest, Sha256};

/// Names the container that a process belongs to.
pub(crate) const CONTAINER: &str = "QUARK_CONTAINER";
/// Names the build that a process belongs to.
pub(crate) const BUILD: &str = "QUARK_BUILD";
/// Names the state folder: names of builds and, where a store was copied, of
/// containers are the same in two installations on one machine.
pub(crate) const STATE: &str = "QUARK_STATE";

/// What a process and all that it starts carry in their environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    key: &'static str,
    value: String,
    state: String,
}

/// What an environment says about whom a process belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// To whom the mark names.
    Us,
    /// To another container or build.
    Other,
    /// It carries no mark.
    Nobody,
}

impl Mark {
    pub(crate) fn new(key: &'static str, value: &str, state_dir: &Path) -> Self {
        let digest = hex::encode(Sha256::digest(state_dir.as_os_str().as_encoded_bytes()));
        Self { key, value: value.to_owned(), state: digest.chars().take(16).collect() }
    }

    /// The variables to set.
    pub(crate) fn variables(&self) -> [(&'static str, &str); 2] {
        [(self.key, &self.value), (STATE, &self.state)]
    }

    /// Reads the environment of a process as `/proc` shows it.
    pub(crate) fn owner(&self, environ: &[u8]) -> Owner {
        let value = |key: &str| {
            let mut variables = environ.split(|byte| *byte == 0);
            variables.find_map(|variable| variable.strip_prefix(key.as_bytes())?.strip_prefix(b"="))
        };
        match value(self.key) {
            None => Owner::Nobody,
            Some(found) if found == self.value.as_bytes() && value(STATE) == Some(self.state.as_bytes()) => Owner::Us,
            Some(_) => Owner::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_known_again_and_not_mistaken() {
        let mark = Mark::new(CONTAINER, "qk-a", Path::new("/one"));
        let environ = |mark: &Mark| mark.variables().map(|(key, value)| format!("{key}={value}\0")).concat();
        assert_eq!(mark.owner(environ(&mark).as_bytes()), Owner::Us);
        for other in [Mark::new(CONTAINER, "qk-ab", Path::new("/one")), Mark::new(CONTAINER, "qk-a", Path::new("/two"))]
        {
            assert_eq!(mark.owner(environ(&other).as_bytes()), Owner::Other);
        }
        let build = Mark::new(BUILD, "qk-a", Path::new("/one"));
        assert_eq!(mark.owner(environ(&build).as_bytes()), Owner::Nobody);
        assert_eq!(mark.owner(b"XQUARK_CONTAINER=qk-a\0A=QUARK_CONTAINER=qk-a\0"), Owner::Nobody);
    }
}
