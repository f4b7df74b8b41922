//! What has gone wrong in other systems, each under the name of the one it was
//! seen in: here it must not.

mod crashes;
mod requests;
mod stops;
mod versions;
