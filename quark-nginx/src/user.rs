//! `WorkerUser`: whom nginx's workers run as when QUARK runs as root.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use quark_core::{Error, ErrorKind, Result};

/// Whom systems make for web servers, best first.
const USUAL: [&str; 3] = ["www-data", "nginx", "nobody"];

/// A user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkerUser {
    name: String,
    group: String,
    uid: u32,
    gid: u32,
}

impl WorkerUser {
    /// The user to name in the configuration: none unless QUARK is root, for
    /// nobody else can change the user.
    pub(crate) fn choose(wanted: Option<&str>) -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let groups = fs::read_to_string("/etc/group").unwrap_or_default();
        let names = wanted.map_or_else(|| USUAL.to_vec(), |wanted| vec![wanted]);
        match names.iter().find_map(|name| Self::find(name, &users, &groups)) {
            Some(user) => Ok(Some(user)),
            None => Err(Error::invalid(
                "nginx.worker_user",
                "no_such_user",
                format!("there is no user `{}`", names.join("`, `")),
            )
            .with_hint("name one that exists with `NginxConfig::with_worker_user`")),
        }
    }

    /// Looks a user up in passwd(5) and its group in group(5).
    fn find(name: &str, users: &str, groups: &str) -> Option<Self> {
        let mut fields = users.lines().find(|line| line.split(':').next() == Some(name))?.split(':');
        let (uid, gid) = (fields.nth(2)?.parse().ok()?, fields.next()?);
        let group = groups.lines().find(|line| line.split(':').nth(2) == Some(gid))?.split(':').next()?;
        Some(Self { name: name.to_owned(), group: group.to_owned(), uid, gid: gid.parse().ok()? })
    }

    pub(crate) fn line(&self) -> String {
        format!("user {} {};", self.name, self.group)
    }

    /// Refuses a folder that workers could not look into: the markers there
    /// would have no effect, and nobody would be told.
    pub(crate) fn check_way_to(&self, folder: &Path) -> Result<()> {
        for place in folder.ancestors() {
            let Ok(found) = fs::metadata(place) else { continue };
            let needed = match () {
                () if found.uid() == self.uid => 0o100,
                () if found.gid() == self.gid => 0o010,
                () => 0o001,
            };
            if self.uid != 0 && found.mode() & needed == 0 {
                let (place, name) = (place.display(), &self.name);
                let message = format!("`{place}` does not let nginx's workers (`{name}`) through");
                return Err(Error::new(ErrorKind::PermissionDenied, message)
                    .with_code("markers_not_seen")
                    .with_hint(format!("`chmod o+x {place}`, or choose another folder for nginx")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_user_is_found_with_its_group() {
        let users = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65533:nobody:/:/bin/false\n";
        let user = WorkerUser::find("nobody", users, "root:x:0:\nnogroup:x:65533:\n").unwrap();
        assert_eq!(user.line(), "user nobody nogroup;");
        assert_eq!(WorkerUser::find("nob", users, ""), None);
    }

    #[test]
    fn a_closed_folder_on_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let markers = folder.path().join("q/markers");
        fs::create_dir_all(&markers).unwrap();
        let user = WorkerUser { name: "w".to_owned(), group: "w".to_owned(), uid: 4_000_000, gid: 4_000_000 };
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let error = user.check_way_to(&markers).unwrap_err();
        assert!(error.message().contains(&*folder.path().to_string_lossy()), "{error}");
    }
}
