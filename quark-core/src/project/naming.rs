//! What projects and environments are called, and from that their apps.
//!
//! | what | app name, and so `<name>.<base domain>` |
//! |---|---|
//! | production | `<project>` |
//! | another environment | `<project>-env-<environment>` |
//! | a preview | `<project>-branch-<branch>` |
//! | (a host name only) | `<project>-env-id-<id of the environment>` |
//!
//! Names never meet: those of apps without a project hold neither `-env-` nor
//! `-branch-`, nor do those of projects, so the first of these in a name ends
//! the project's. What had to be changed or cut to become a part of a name ends
//! in eight digits of a hash, and what was not never does.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::app::{AppName, BranchName, checked_text, excerpt};
use crate::{Error, Result};

const ENVIRONMENT: &str = "-env-";
const BRANCH: &str = "-branch-";
const ID: &str = "-env-id-";
const LONGEST_APP: usize = 40;
const LONGEST_PROJECT: usize = 20;
/// Hexadecimal digits of an id or a hash in a name.
const DIGITS: usize = 8;

checked_text! {
    /// The name of a project, and of its production app: a DNS label of at most
    /// 20 characters, without `-env-` and `-branch-`.
    ProjectName, check_project
}

checked_text! {
    /// The name of an environment: a DNS label of at most 40 characters that
    /// does not begin with `id-`.
    EnvironmentName, check_environment
}

checked_text! {
    /// Names an environment for as long as it is there, whatever it is called:
    /// eight hexadecimal digits.
    EnvironmentId, check_id
}

impl ProjectName {
    /// The name of the app of the project's production environment.
    ///
    /// # Errors
    ///
    /// None: the name of a project is one of an app.
    pub fn production(&self) -> Result<AppName> {
        AppName::parse(self.as_str())
    }
}

impl EnvironmentId {
    /// A new id, by chance.
    #[must_use]
    pub fn generate() -> Self {
        let digits: String = Uuid::new_v4().simple().to_string().chars().take(DIGITS).collect();
        Self(digits)
    }
}

fn is_label(text: &str, longest: usize) -> bool {
    let inner = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    inner && first && !text.ends_with('-') && text.len() <= longest
}

fn check_project(text: &str) -> Result<String> {
    if !is_label(text, LONGEST_PROJECT) {
        let text = format!("`{}` is not the name of a project", excerpt(text));
        return Err(Error::invalid("project.name", "invalid_project_name", text)
            .with_hint("use 1 to 20 of a-z, 0-9 and `-`, starting with a letter and not ending with `-`"));
    }
    if is_reserved(text) {
        return Err(reserved("project.name", text));
    }
    Ok(text.to_owned())
}

fn check_environment(text: &str) -> Result<String> {
    if is_label(text, LONGEST_APP) && text != "id" && !text.starts_with("id-") {
        return Ok(text.to_owned());
    }
    let text = format!("`{}` is not the name of an environment", excerpt(text));
    Err(Error::invalid("environment.name", "invalid_environment_name", text).with_hint(
        "use 1 to 40 of a-z, 0-9 and `-`, starting with a letter, but not with `id-`, not `id` alone, and not ending with `-`",
    ))
}

fn check_id(text: &str) -> Result<String> {
    if text.len() == DIGITS && text.bytes().all(is_digit) {
        return Ok(text.to_owned());
    }
    let text = format!("`{}` is not the id of an environment", excerpt(text));
    Err(Error::invalid("environment.id", "invalid_environment_id", text)
        .with_hint("an id has eight digits, 0-9 and a-f; leave it out for a new environment"))
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

/// Whether only a project may give this name to an app.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    let ended = format!("{name}-");
    ended.contains(ENVIRONMENT) || ended.contains(BRANCH)
}

/// Somebody wants a name that only projects give.
pub(crate) fn reserved(field: &'static str, name: &str) -> Error {
    Error::invalid(field, "name_reserved", format!("`{name}` is a name that projects give to their apps"))
        .with_hint("choose a name without `-env-` and `-branch-`, also at its end")
}

/// The name of the app of an environment that is not production, when it is
/// made; `taken` are those that the project has.
pub(super) fn of_environment(
    project: &ProjectName,
    name: &EnvironmentName,
    id: &EnvironmentId,
    taken: impl Fn(&str) -> bool,
) -> Result<AppName> {
    let plain = format!("{project}{ENVIRONMENT}{name}");
    if plain.len() <= LONGEST_APP && !ends_in_digits(&plain) && !taken(&plain) {
        return AppName::parse(plain);
    }
    AppName::parse(ended(&format!("{project}{ENVIRONMENT}"), name.as_str(), id.as_str()))
}

/// The name under which an environment would be known if it were made now.
pub(super) fn label_of_environment(project: &ProjectName, name: &EnvironmentName) -> Option<String> {
    let plain = format!("{project}{ENVIRONMENT}{name}");
    (plain.len() <= LONGEST_APP && !ends_in_digits(&plain)).then_some(plain)
}

/// The host name's first label that stays when an environment is renamed.
pub(super) fn label_of_id(project: &ProjectName, id: &EnvironmentId) -> String {
    format!("{project}{ID}{id}")
}

/// The name of the app of a branch.
pub(super) fn of_branch(project: &ProjectName, branch: &BranchName) -> Result<AppName> {
    let head = format!("{project}{BRANCH}");
    let slug = slug(branch.as_str());
    if slug == branch.as_str() && head.len() + slug.len() <= LONGEST_APP && !ends_in_digits(&slug) {
        return AppName::parse(format!("{head}{slug}"));
    }
    let hash = hex::encode(Sha256::digest(branch.as_str().as_bytes()));
    AppName::parse(ended(&head, &slug, hash.get(..DIGITS).unwrap_or_default()))
}

/// `head`, as much of `text` as there is room for, and the digits.
fn ended(head: &str, text: &str, digits: &str) -> String {
    let room = LONGEST_APP.saturating_sub(head.len() + 1 + digits.len());
    let cut = text.get(..room.min(text.len())).unwrap_or_default().trim_matches('-');
    if cut.is_empty() { format!("{head}{digits}") } else { format!("{head}{cut}-{digits}") }
}

/// Whether a text ends as one that was cut does.
fn ends_in_digits(text: &str) -> bool {
    let last = text.rsplit('-').next().unwrap_or_default();
    last.len() == DIGITS && last.bytes().all(is_digit)
}

/// What a host name can hold of a branch's name: lower case letters, digits and
/// single `-` between them.
fn slug(branch: &str) -> String {
    let mut slug = String::new();
    for letter in branch.chars().map(|letter| letter.to_ascii_lowercase()) {
        if letter.is_ascii_alphanumeric() {
            slug.push(letter);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests;
