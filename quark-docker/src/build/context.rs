//! `Context`: the files that a build gets, and nothing from outside the tree.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use quark_core::{Error, ErrorKind, RelativePath, Result};
use rustix::fs::{Mode, OFlags};
use tar::{Builder, EntryType, Header};

use super::ignore::Ignore;

/// The most files, folders and links that a build gets.
const MOST_ENTRIES: usize = 100_000;
/// How deep a tree may be.
const DEEPEST: usize = 128;
/// The longest `.dockerignore` that is read.
const LONGEST_IGNORE: u64 = 1 << 20;

/// What is sent to the daemon, found out before anything is sent.
#[derive(Debug)]
pub(super) struct Context {
    source: PathBuf,
    entries: Vec<Entry>,
    /// Things that are neither file, folder nor link.
    skipped: Vec<PathBuf>,
}

#[derive(Debug)]
struct Entry {
    path: PathBuf,
    kind: Kind,
    modified: u64,
}

#[derive(Debug)]
enum Kind {
    Folder { ignored: bool },
    File { size: u64, executable: bool },
    Link { target: PathBuf },
}

/// What is being looked for in a tree, and how much of it was found.
struct Search<'a> {
    context: Context,
    ignore: Ignore,
    dockerfile: &'a Path,
    size: u64,
    limit: u64,
    abandoned: &'a AtomicBool,
}

impl Context {
    /// Finds what is to be sent, in an order that is always the same.
    ///
    /// Links are taken as links and never followed. `.git` is left out at any
    /// depth, and so is what `.dockerignore` names. Blocks, at most until
    /// `abandoned` is set.
    pub(super) fn find(source: &Path, dockerfile: &RelativePath, limit: u64, abandoned: &AtomicBool) -> Result<Self> {
        check_dockerfile(source, dockerfile)?;
        let context = Self { source: source.to_owned(), entries: Vec::new(), skipped: Vec::new() };
        let dockerfile = Path::new(dockerfile.as_str());
        let mut search = Search { context, ignore: read_ignore(source)?, dockerfile, size: 0, limit, abandoned };
        search.enter(Path::new(""))?;
        let mut context = search.context;
        context.drop_empty_ignored_folders();
        Ok(context)
    }

    /// What was left out because it is neither file, folder nor link.
    pub(super) fn skipped(&self) -> &[PathBuf] {
        &self.skipped
    }

    /// Writes the tree as a tar archive. Owners and rights are the same
    /// wherever the tree was checked out, so that the daemon's cache hits.
    /// Blocks.
    pub(super) fn pack(&self, out: impl Write) -> io::Result<()> {
        let mut archive = Builder::new(out);
        for entry in &self.entries {
            let mut header = Header::new_gnu();
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(entry.modified);
            header.set_size(0);
            match &entry.kind {
                Kind::Folder { .. } => {
                    header.set_entry_type(EntryType::Directory);
                    header.set_mode(0o755);
                    archive.append_data(&mut header, &entry.path, io::empty())?;
                }
                Kind::Link { target } => {
                    header.set_entry_type(EntryType::Symlink);
                    header.set_mode(0o777);
                    archive.append_link(&mut header, &entry.path, target)?;
                }
                Kind::File { size, executable } => {
                    header.set_entry_type(EntryType::Regular);
                    header.set_mode(if *executable { 0o755 } else { 0o644 });
                    header.set_size(*size);
                    let file = open(&self.source.join(&entry.path))?;
                    archive.append_data(&mut header, &entry.path, Exactly { file, left: *size })?;
                }
            }
        }
        archive.into_inner()?.flush()
    }

    /// Folders that are ignored are only sent for the sake of what is in them.
    fn drop_empty_ignored_folders(&mut self) {
        let mut needed = BTreeSet::new();
        // A folder comes before what is in it.
        for entry in self.entries.iter().rev() {
            let ignored = matches!(entry.kind, Kind::Folder { ignored: true });
            if !ignored || needed.contains(&entry.path) {
                needed.extend(entry.path.parent().map(Path::to_owned));
            }
        }
        self.entries
            .retain(|entry| !matches!(entry.kind, Kind::Folder { ignored: true }) || needed.contains(&entry.path));
    }
}

impl Search<'_> {
    /// Looks through one folder of the tree.
    fn enter(&mut self, folder: &Path) -> Result<()> {
        let absolute = self.context.source.join(folder);
        let read = fs::read_dir(&absolute).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
        let mut names: Vec<_> =
            read.map_err(|error| unreadable(folder, error))?.iter().map(fs::DirEntry::file_name).collect();
        names.sort_unstable();
        for name in names {
            if name != OsStr::new(".git") {
                self.look(folder.join(name))?;
            }
        }
        Ok(())
    }

    fn look(&mut self, path: PathBuf) -> Result<()> {
        if self.abandoned.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Cancelled, "nobody waits for the source tree any more"));
        }
        let absolute = self.context.source.join(&path);
        let about = fs::symlink_metadata(&absolute).map_err(|error| unreadable(&path, error))?;
        let ignored = self.is_ignored(&path);
        let is_folder = about.is_dir();
        if ignored && !(is_folder && (self.ignore.has_exceptions() || self.dockerfile.starts_with(&path))) {
            return Ok(());
        }
        let kind = if is_folder {
            Kind::Folder { ignored }
        } else if about.is_file() {
            self.size = self.size.saturating_add(about.len());
            Kind::File { size: about.len(), executable: about.mode() & 0o111 != 0 }
        } else if about.is_symlink() {
            Kind::Link { target: fs::read_link(&absolute).map_err(|error| unreadable(&path, error))? }
        } else {
            self.context.skipped.push(path);
            return Ok(());
        };
        let modified = u64::try_from(about.mtime()).unwrap_or_default();
        self.context.entries.push(Entry { path: path.clone(), kind, modified });
        self.check_size(&path)?;
        if is_folder { self.enter(&path) } else { Ok(()) }
    }

    /// The daemon needs the Dockerfile and the list of what is ignored, and
    /// takes them out of the tree by itself if they are on the list.
    fn is_ignored(&self, path: &Path) -> bool {
        path != self.dockerfile && path != Path::new(".dockerignore") && self.ignore.covers(&path.to_string_lossy())
    }

    fn check_size(&self, path: &Path) -> Result<()> {
        let limit = if path.components().count() > DEEPEST {
            format!("{DEEPEST} folders in each other")
        } else if self.context.entries.len() > MOST_ENTRIES {
            format!("{MOST_ENTRIES} files and folders")
        } else if self.size > self.limit {
            format!("{} bytes", self.limit)
        } else {
            return Ok(());
        };
        Err(Error::invalid("app.source", "context_too_large", format!("the source tree has more than {limit}"))
            .with_hint("name what the build does not need in `.dockerignore`"))
    }
}

/// The Dockerfile must be a plain file of the tree, and no part of its path a
/// link: where a link leads is not the tree's to say.
fn check_dockerfile(source: &Path, dockerfile: &RelativePath) -> Result<()> {
    let refuse = |code, why: &str| Err(Error::invalid("app.dockerfile", code, format!("`{dockerfile}` {why}")));
    let mut path = source.to_owned();
    let mut is_file = false;
    for part in Path::new(dockerfile.as_str()) {
        path.push(part);
        match fs::symlink_metadata(&path) {
            Ok(about) if about.is_symlink() => {
                return refuse("path_escapes_context", "is, or is reached through, a symbolic link");
            }
            Ok(about) => is_file = about.is_file(),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return refuse("dockerfile_not_found", "is not in the source tree")
                    .map_err(|error| error.with_hint("add it to the repository, or set the app's `dockerfile`"));
            }
            Err(error) => return Err(unreadable(Path::new(dockerfile.as_str()), error)),
        }
    }
    if is_file { Ok(()) } else { refuse("dockerfile_not_found", "is not a file") }
}

fn read_ignore(source: &Path) -> Result<Ignore> {
    const NAME: &str = ".dockerignore";
    let path = source.join(NAME);
    let about = match fs::symlink_metadata(&path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ignore::default()),
        Err(error) => return Err(unreadable(Path::new(NAME), error)),
    };
    let refuse = |code, why: &str| Err(Error::invalid("app.source", code, format!("`{NAME}` {why}")));
    if about.is_symlink() {
        return refuse("path_escapes_context", "is a symbolic link");
    }
    if !about.is_file() || about.len() > LONGEST_IGNORE {
        return refuse("invalid_dockerignore", "is no file of at most 1 MiB");
    }
    let mut text = Vec::new();
    let read = open(&path).and_then(|file| file.take(LONGEST_IGNORE).read_to_end(&mut text));
    read.map_err(|error| unreadable(Path::new(NAME), error))?;
    Ignore::parse(&String::from_utf8_lossy(&text))
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::Internal, format!("`{}` of the source tree cannot be read", path.display()))
        .with_source(error)
}

/// Opens a file that is no link and does not wait for a writer.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// Reads as many bytes as were announced, or fails.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..most).filter(|buffer| !buffer.is_empty()) else { return Ok(0) };
        let read = self.file.read(buffer)?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a file became shorter while it was read"));
        }
        self.left = self.left.saturating_sub(read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
