//! The API's token: made at the first start, shown once, kept as a hash.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use quark_http::{ApiToken, TokenHash};

/// The hash of the token; at the first start a token is made and shown.
pub(crate) fn load_or_make(state: &Path) -> Result<TokenHash> {
    let path = state.join("token.sha256");
    match fs::read_to_string(&path) {
        Ok(text) => return text.parse().with_context(|| path.display().to_string()),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    }
    let token = ApiToken::generate();
    // Written aside and renamed: a half-written hash would lock everybody out.
    let unfinished = state.join("token.sha256.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    writeln!(file, "{}", token.hash())?;
    file.sync_all()?;
    fs::rename(&unfinished, &path)?;
    show(&token, &path);
    Ok(token.hash())
}

#[allow(clippy::print_stdout, reason = "the token is for the person who starts the server, not for its log")]
fn show(token: &ApiToken, path: &Path) {
    println!("The API's token, shown this once (delete {} to get a new one):", path.display());
    println!("{}", token.expose());
}
