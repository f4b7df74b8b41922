//! Rendering with handlebars.
//!
//! Nothing is escaped, because nginx has no escape that holds everywhere; so
//! every value that gets in is of a checked type: names, addresses, numbers,
//! and paths that were checked with the configuration.

use std::sync::LazyLock;

use handlebars::{Handlebars, no_escape};
use quark_core::{Error, ErrorKind, Result};
use serde::Serialize;

/// A template by name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Template {
    Main,
    Base,
    Site,
}

impl Template {
    fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Base => "base",
            Self::Site => "site",
        }
    }

    /// Fills the template; a value that is missing is an error, not a gap.
    pub(crate) fn render(self, values: &impl Serialize) -> Result<String> {
        let broken = |cause: handlebars::RenderError| {
            Error::new(ErrorKind::Internal, format!("the template `{}` could not be filled", self.name()))
                .with_source(cause)
        };
        static TEMPLATES: LazyLock<Result<Handlebars<'static>, String>> =
            LazyLock::new(|| compile().map_err(|error| error.to_string()));
        match &*TEMPLATES {
            Ok(templates) => templates.render(self.name(), values).map_err(broken),
            Err(error) => Err(Error::new(ErrorKind::Internal, format!("a template is broken: {error}"))),
        }
    }
}

fn compile() -> Result<Handlebars<'static>, handlebars::TemplateError> {
    let mut templates = Handlebars::new();
    templates.set_strict_mode(true);
    templates.register_escape_fn(no_escape);
    templates.register_template_string(Template::Main.name(), include_str!("../templates/main.conf.hbs"))?;
    templates.register_template_string(Template::Base.name(), include_str!("../templates/base.conf.hbs"))?;
    templates.register_template_string(Template::Site.name(), include_str!("../templates/site.conf.hbs"))?;
    templates.register_partial("choice", include_str!("../templates/choice.conf.hbs"))?;
    Ok(templates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_value_is_an_error() {
        let error = Template::Base.render(&serde_json::json!({ "status": "127.0.0.1:1" })).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
    }
}
