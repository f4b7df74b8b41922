//! `NginxRouter` against a real nginx, one private instance for each test.

mod conformance;
mod crashes;
mod load;
mod refusals;
mod routes;
mod support;
