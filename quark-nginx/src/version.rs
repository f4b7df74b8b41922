//! `Version`: which nginx it is.

use std::fmt;

/// A version of nginx.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u16, pub(crate) u16, pub(crate) u16);

impl Version {
    /// The first with `keepalive_timeout` in `upstream`, without which a
    /// connection to a slot would never end and none would ever be drained.
    pub(crate) const OLDEST: Self = Self(1, 15, 3);

    /// Finds it in what `nginx -v` prints, such as
    /// `nginx version: nginx/1.22.1 (Ubuntu)`.
    pub(crate) fn parse(printed: &str) -> Option<Self> {
        let number = printed.split('/').nth(1)?.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
        let mut parts = number.split('.').map(str::parse);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch))) => Some(Self(major, minor, patch)),
            _ => None,
        }
    }

    /// Whether an old worker answers once more on a kept connection after a
    /// reload (`keepalive_min_timeout`), so that none is cut.
    pub(crate) fn keeps_connections(self) -> bool {
        self >= Self(1, 27, 4)
    }

    /// Whether the error log of a start can be named on the command line.
    pub(crate) fn has_error_log_option(self) -> bool {
        self >= Self(1, 19, 5)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_nginx_prints() {
        assert_eq!(Version::parse("nginx version: nginx/1.22.1\n"), Some(Version(1, 22, 1)));
        assert_eq!(Version::parse("nginx version: nginx/1.18.0 (Ubuntu)"), Some(Version(1, 18, 0)));
        assert_eq!(Version::parse("nginx version: openresty/1.21.4.1"), Some(Version(1, 21, 4)));
        assert_eq!(Version::parse("nginx: command not found"), None);
        assert!(Version(1, 27, 4).keeps_connections() && !Version(1, 27, 3).keeps_connections());
    }
}
