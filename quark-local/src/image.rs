//! Images: folders with a built tree and a note that says how to start it.

use std::path::{Path, PathBuf};

use quark_core::app::Artifact;
use quark_core::backend::BuildKey;
use quark_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::system::files::{read_json, write_json};

const NOTE: &str = "image.json";
const PREFIX: &str = "local:";

/// What `image.json` says. An image exists when this file does: it is written
/// last, and at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Image {
    /// The form of this file; 1.
    pub(crate) version: u32,
    /// The build key.
    pub(crate) key: String,
    /// What people call the image.
    pub(crate) label: String,
    /// The commit it was built from.
    pub(crate) commit: String,
    /// What to start, with a placeholder for the port.
    pub(crate) start: Vec<String>,
}

impl Image {
    pub(crate) const VERSION: u32 = 1;

    pub(crate) fn artifact(&self) -> Artifact {
        Artifact { id: format!("{PREFIX}{}", self.key), label: self.label.clone() }
    }
}

/// All images of an installation.
#[derive(Clone, Debug)]
pub(crate) struct Images {
    folder: PathBuf,
}

impl Images {
    pub(crate) fn in_state(state_dir: &Path) -> Self {
        Self { folder: state_dir.join("images") }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of a build, finished or not.
    pub(crate) fn of_key(&self, key: &BuildKey) -> ImageFolder {
        ImageFolder { path: self.folder.join(key.as_str()) }
    }

    /// The folder that an artifact names; `None` if it is not one of ours.
    pub(crate) fn of_artifact(&self, artifact: &Artifact) -> Option<ImageFolder> {
        let key = artifact.id.strip_prefix(PREFIX)?;
        // The name becomes a path.
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (key.len() == 64 && key.bytes().all(digit)).then(|| ImageFolder { path: self.folder.join(key) })
    }
}

/// The folder of one build.
#[derive(Clone, Debug)]
pub(crate) struct ImageFolder {
    path: PathBuf,
}

impl ImageFolder {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The checkout, with what the build made of it.
    pub(crate) fn tree(&self) -> PathBuf {
        self.path.join("tree")
    }

    /// The file that makes the folder an image.
    pub(crate) fn note(&self) -> PathBuf {
        self.path.join(NOTE)
    }

    /// The image, if the build has come to its end.
    pub(crate) fn read(&self) -> Result<Option<Image>> {
        let image: Option<Image> = read_json(&self.note())?;
        match image {
            Some(image) if image.version != Image::VERSION => {
                let found = format!("image `{}` was built by another version of QUARK", image.key);
                Err(Error::new(ErrorKind::Unsupported, found).with_code("state_version"))
            }
            image => Ok(image),
        }
    }

    pub(crate) fn write(&self, image: &Image) -> Result<()> {
        write_json(&self.path, NOTE, image)
    }
}
