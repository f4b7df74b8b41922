//! `Site`: the configuration file of one app.

use std::net::SocketAddr;
use std::path::PathBuf;

use quark_core::backend::Route;
use quark_core::{AppName, Domain, Error, ErrorKind, Result, Slot};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::config::NginxConfig;
use crate::layout::Layout;
use crate::template::Template;
use crate::version::Version;

/// Ends the header of a site file, which does not count when two are compared.
const END_OF_HEADER: &str = "# ---\n";

/// What the files of all apps have in common.
#[derive(Clone, Debug)]
pub(crate) struct SiteSettings {
    listen: String,
    host: String,
    status: String,
    markers: PathBuf,
    max_body: u64,
    buffering: &'static str,
    read_timeout: u64,
    /// In seconds; 0 where nginx does not know it.
    keepalive_min: u64,
}

/// How long an old worker waits for another request on a kept connection.
pub(crate) const KEEPALIVE_MIN_SECONDS: u64 = 5;

impl SiteSettings {
    pub(crate) fn of(config: &NginxConfig, version: Version) -> Self {
        // `$http_host` would be what the client claims even where nginx has
        // chosen the app by another name (RFC 9112, section 3.2.2).
        let host = match config.listen.port() {
            80 => "$host".to_owned(),
            port => format!("$host:{port}"),
        };
        Self {
            listen: config.listen.to_string(),
            host,
            status: config.status_address(),
            markers: Layout::of(config).markers(),
            max_body: config.max_body_bytes,
            buffering: if config.buffer_answers { "on" } else { "off" },
            read_timeout: config.read_timeout.as_secs().max(1),
            keepalive_min: if version.keeps_connections() { KEEPALIVE_MIN_SECONDS } else { 0 },
        }
    }

    /// The same for a trial that must not get in the way of the nginx that
    /// runs: it listens on sockets beside its own configuration.
    pub(crate) fn for_trial(&self) -> Self {
        Self { listen: "unix:users.sock".to_owned(), status: "unix:status.sock".to_owned(), ..self.clone() }
    }
}

/// What a site file says, without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) app: AppName,
    pub(crate) domains: Vec<Domain>,
    pub(crate) blue: SocketAddr,
    pub(crate) green: SocketAddr,
}

#[derive(Serialize)]
struct Values<'a> {
    app: &'a AppName,
    domains: &'a [Domain],
    upstreams: Vec<Upstream>,
    blue: SocketAddr,
    green: SocketAddr,
    listen: &'a str,
    host: &'a str,
    status: &'a str,
    markers: &'a PathBuf,
    max_body: u64,
    buffering: &'a str,
    read_timeout: u64,
    keepalive_min: u64,
    shape: &'a str,
}

#[derive(Serialize)]
struct Upstream {
    name: String,
    servers: Vec<Server>,
}

#[derive(Serialize)]
struct Server {
    address: SocketAddr,
    backup: bool,
}

impl Shape {
    /// What `route` asks for.
    pub(crate) fn of(route: &Route) -> Result<Self> {
        let address = |slot| {
            route.endpoint(slot).socket_addr().map_err(|cause| {
                Error::new(ErrorKind::InvalidConfig, format!("nginx cannot reach the {slot} slot of `{}`", route.app))
                    .with_code("invalid_endpoint")
                    .with_hint("nginx needs slots with an address and a port, such as `127.0.0.1:31000`")
                    .with_source(cause)
            })
        };
        let mut domains = route.domains.clone();
        // The order says nothing, so it must not make a difference.
        domains.sort();
        domains.dedup();
        if domains.is_empty() {
            let message = format!("the route of `{}` has no host name", route.app);
            return Err(Error::new(ErrorKind::InvalidConfig, message).with_code("no_domain"));
        }
        Ok(Self { app: route.app.clone(), domains, blue: address(Slot::Blue)?, green: address(Slot::Green)? })
    }

    pub(crate) fn address(&self, slot: Slot) -> SocketAddr {
        match slot {
            Slot::Blue => self.blue,
            Slot::Green => self.green,
        }
    }

    pub(crate) fn with_address(mut self, slot: Slot, address: SocketAddr) -> Self {
        match slot {
            Slot::Blue => self.blue = address,
            Slot::Green => self.green = address,
        }
        self
    }

    /// The file for this shape.
    pub(crate) fn site(&self, settings: &SiteSettings) -> Result<Site> {
        let nameless = self.render(settings, "")?;
        let digest = Sha256::digest(nameless.as_bytes());
        let shape = hex::encode(digest.get(..16).unwrap_or(&digest));
        Ok(Site { body: self.render(settings, &shape)?, shape })
    }

    fn render(&self, settings: &SiteSettings, shape: &str) -> Result<String> {
        Template::Site.render(&Values {
            app: &self.app,
            domains: &self.domains,
            upstreams: self.upstreams(),
            blue: self.blue,
            green: self.green,
            listen: &settings.listen,
            host: &settings.host,
            status: &settings.status,
            markers: &settings.markers,
            max_body: settings.max_body,
            buffering: settings.buffering,
            read_timeout: settings.read_timeout,
            keepalive_min: settings.keepalive_min,
            shape,
        })
    }

    /// Each slot alone, each with the other behind it, and each behind the other.
    fn upstreams(&self) -> Vec<Upstream> {
        let server = |slot, backup| Server { address: self.address(slot), backup };
        let alone = |slot| Upstream { name: format!("{slot}_alone"), servers: vec![server(slot, false)] };
        let backed = |slot: Slot| Upstream {
            name: format!("{slot}_backed"),
            servers: vec![server(slot, false), server(slot.other(), true)],
        };
        let canary = |slot: Slot| Upstream {
            name: format!("{slot}_canary"),
            servers: vec![server(slot.other(), false), server(slot, true)],
        };
        Slot::BOTH.into_iter().flat_map(|slot| [alone(slot), backed(slot), canary(slot)]).collect()
    }
}

/// The text of a site file, and the name of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    /// The same for the same configuration; nginx tells it when it is in force.
    pub(crate) shape: String,
    body: String,
}

impl Site {
    /// The file with a header that says where it comes from.
    pub(crate) fn text(&self, route: &Route) -> String {
        let (app, generation, fence, shape) = (&route.app, route.generation.0, route.fence.0, &self.shape);
        format!(
            "# Written by QUARK, which writes it again when it is changed.\n\
             # app: {app}\n# generation: {generation}\n# fence: {fence}\n# shape: {shape}\n{END_OF_HEADER}{}",
            self.body
        )
    }

    /// Whether the file on disk says the same, whenever it was written.
    pub(crate) fn is(&self, text: &str) -> bool {
        text.split_once(END_OF_HEADER).is_some_and(|(_, body)| body == self.body)
    }
}

/// The generation that a site file was written for.
pub(crate) fn generation(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("# generation: "))?.parse().ok()
}

/// The name of a site file's content.
pub(crate) fn shape(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("# shape: "))
}

#[cfg(test)]
mod tests {
    use quark_core::deployment::{Endpoint, Fence, Generation};

    use super::*;

    fn route(domains: &[&str], blue: &str, green: &str) -> Route {
        Route {
            app: AppName::parse("shop").unwrap(),
            generation: Generation(7),
            fence: Fence(3),
            domains: domains.iter().map(|name| Domain::parse(name).unwrap()).collect(),
            blue: Endpoint::new(blue),
            green: Endpoint::new(green),
            active: Slot::Green,
            backup: true,
            canary: None,
        }
    }

    fn render(config: &NginxConfig, version: Version, route: &Route) -> String {
        let settings = SiteSettings::of(config, version);
        Shape::of(route).unwrap().site(&settings).unwrap().text(route)
    }

    /// Compares with a file in `tests/it/golden`; `QUARK_UPDATE_GOLDEN=1`
    /// writes it instead.
    fn golden(name: &str, text: &str) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden").join(name);
        if std::env::var_os("QUARK_UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "{name}");
    }

    #[test]
    fn an_ordinary_site() {
        let config = NginxConfig::own("/var/lib/quark/nginx", ([0, 0, 0, 0], 80).into());
        let route = route(&["shop.example.com", "www.example.com"], "127.0.0.1:31000", "127.0.0.1:31001");
        golden("ordinary.conf", &render(&config, Version(1, 22, 1), &route));
    }

    #[test]
    fn an_attached_recent_nginx_with_another_port_and_ipv6() {
        let (listen, status) = ("[::]:8080".parse().unwrap(), "127.0.0.1:8079".parse().unwrap());
        let reload = crate::config::ReloadBy::default();
        let config = NginxConfig::attach("/var/lib/quark/nginx", "/etc/nginx/conf.d", listen, status, reload)
            .with_max_body(1024)
            .with_buffered_answers()
            .with_read_timeout(std::time::Duration::from_secs(3600));
        let route = route(&["shop.test"], "[::1]:31000", "[::1]:31001");
        golden("attached.conf", &render(&config, Version(1, 27, 4), &route));
    }

    #[test]
    fn the_shape_is_the_content_and_nothing_else() {
        let config = NginxConfig::own("/q", ([0, 0, 0, 0], 80).into());
        let settings = SiteSettings::of(&config, Version(1, 22, 1));
        let site = |route: &Route| Shape::of(route).unwrap().site(&settings).unwrap();
        let first = route(&["a.test", "b.test"], "127.0.0.1:1", "127.0.0.1:2");
        let again = Route { generation: Generation(8), fence: Fence(4), active: Slot::Blue, ..first.clone() };
        let turned = route(&["b.test", "a.test", "b.test"], "127.0.0.1:1", "127.0.0.1:2");
        assert_eq!(site(&first), site(&again), "markers and counters are no shape");
        assert_eq!(site(&first), site(&turned), "the order of names is no shape");
        assert!(site(&first).is(&site(&again).text(&again)));
        let text = site(&again).text(&again);
        assert_eq!((generation(&text), shape(&text)), (Some(8), Some(site(&first).shape.as_str())));
        let moved = route(&["a.test", "b.test"], "127.0.0.1:1", "127.0.0.1:3");
        assert_ne!(site(&first).shape, site(&moved).shape);
        let other = SiteSettings::of(&config.with_max_body(1), Version(1, 22, 1));
        assert_ne!(site(&first), Shape::of(&first).unwrap().site(&other).unwrap(), "settings are part of it");
    }

    #[test]
    fn what_nginx_could_not_use_is_refused() {
        let no_name = Shape::of(&route(&[], "127.0.0.1:1", "127.0.0.1:2")).unwrap_err();
        assert_eq!((no_name.kind(), no_name.code()), (ErrorKind::InvalidConfig, "no_domain"));
        for bad in ["shop:80", "127.0.0.1", "127.0.0.1:1; }", "/run/shop.sock", "127.0.0.1:99999"] {
            let error = Shape::of(&route(&["a.test"], bad, "127.0.0.1:2")).unwrap_err();
            assert_eq!((error.kind(), error.code()), (ErrorKind::InvalidConfig, "invalid_endpoint"), "{bad}");
        }
    }
}
