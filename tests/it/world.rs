//! What the tests of this crate share.

use std::path::{Path, PathBuf};

/// The nginx program, or a loud skip.
pub(crate) fn nginx_or_skip() -> Option<PathBuf> {
    if std::env::var_os("QUARK_TEST_NGINX").is_none() {
        let usual = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"].map(PathBuf::from);
        if let Some(found) = usual.into_iter().find(|path| path.exists()) {
            return Some(found);
        }
    }
    quark_core::testing::requirement("nginx", "QUARK_TEST_NGINX").map(PathBuf::from)
}

/// The folder of the workspace.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("."))
}
