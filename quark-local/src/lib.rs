//! QUARK on a bare machine: operating-system processes as runtime.

mod builder;
mod config;
mod image;
mod runtime;
mod system;

pub use builder::LocalBuilder;
pub use config::LocalConfig;
pub use runtime::LocalRuntime;
