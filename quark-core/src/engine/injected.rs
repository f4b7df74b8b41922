//! The variables that each app gets from the engine.
//!
//! | variable | value | when |
//! |---|---|---|
//! | `QUARK_APP` | the app's name | always |
//! | `QUARK_TEAM` | whom it belongs to | always |
//! | `QUARK_DEPLOYMENT` | the deployment that made this release | always |
//! | `QUARK_SLOT` | `blue` or `green` | not in a hook |
//! | `QUARK_HOOK` | `pre_deploy`, `pre_promote`, `post_promote` or `post_retire` | in a hook |
//! | `QUARK_DOMAIN` | the first host name of its own, or `<app>.<base domain>` | always |
//! | `QUARK_COMMIT` | the commit, all digits | built from git |
//! | `QUARK_BRANCH` | the branch | built from git |
//! | `QUARK_REPOSITORY` | the repository; never with credentials | built from git |
//! | `QUARK_PROJECT` | the project | of a project |
//! | `QUARK_ENVIRONMENT` | what the environment was called | of a project |
//! | `QUARK_ENVIRONMENT_ID` | its id, which stays when it is renamed | of a project |
//!
//! The names are public API. A variable that the app, its environment or the
//! deployment sets under one of them wins. All but `QUARK_SLOT` are those of the
//! release: a version that is rolled back to finds what it found the first
//! time, also if it is started anew.

use crate::Result;
use crate::app::{Domain, EnvKey, EnvVars, HookPoint, Secret, Source};
use crate::deployment::{Deployment, DeploymentId, DeploymentKind, Instance};

/// All variables of an instance of a deployment, which made it or has rolled
/// back to it.
pub(super) fn variables(deployment: &Deployment, instance: &Instance, base: &Domain) -> Result<EnvVars> {
    let made = match deployment.kind {
        DeploymentKind::Rollback { to } => to,
        _ => instance.deployment,
    };
    let mut env = of_release(deployment, made, base)?;
    env.set_default(EnvKey::parse("QUARK_SLOT")?, Secret::new(instance.slot.as_str()));
    Ok(env)
}

/// All variables of a hook of a deployment: those of an instance, but that it is
/// in no slot.
pub(super) fn of_hook(deployment: &Deployment, point: HookPoint, base: &Domain) -> Result<EnvVars> {
    let made = match deployment.kind {
        DeploymentKind::Rollback { to } => to,
        _ => deployment.id,
    };
    let mut env = of_release(deployment, made, base)?;
    env.set_default(EnvKey::parse("QUARK_HOOK")?, Secret::new(point.to_string()));
    Ok(env)
}

fn of_release(deployment: &Deployment, made: DeploymentId, base: &Domain) -> Result<EnvVars> {
    let release = &deployment.release;
    let domain = release.domains.iter().find(|domain| !domain.is_below(base)).cloned();
    let domain = domain.unwrap_or_else(|| base.subdomain(&deployment.app));
    let mut env = release.env.clone();
    let mut inject = |key: &str, value: String| -> Result<()> {
        env.set_default(EnvKey::parse(key)?, Secret::new(value));
        Ok(())
    };
    inject("QUARK_APP", deployment.app.to_string())?;
    inject("QUARK_TEAM", deployment.team.as_str().to_owned())?;
    inject("QUARK_DEPLOYMENT", made.to_string())?;
    inject("QUARK_DOMAIN", domain.to_string())?;
    if let Source::Git { repository, branch } = &release.source {
        inject("QUARK_BRANCH", deployment.revision.branch.as_ref().unwrap_or(branch).to_string())?;
        inject("QUARK_REPOSITORY", repository.to_string())?;
    }
    if let Some(commit) = &deployment.revision.commit {
        inject("QUARK_COMMIT", commit.to_string())?;
    }
    if let Some(environment) = &release.environment {
        inject("QUARK_PROJECT", environment.project.to_string())?;
        inject("QUARK_ENVIRONMENT", environment.name.to_string())?;
        inject("QUARK_ENVIRONMENT_ID", environment.id.to_string())?;
    }
    Ok(env)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::App;
    use crate::engine::decide::tests::deployment;

    #[test]
    fn a_hook_finds_what_its_app_finds_however_much_that_is() {
        let mut app = App::new("shop", Source::git("https://git.test/acme/shop", "main").unwrap()).unwrap();
        for number in 1..EnvVars::MOST {
            app = app.with_env(&format!("V{number}"), "x").unwrap();
        }
        app = app.with_env("QUARK_TEAM", "mine").unwrap();
        let deployment = Deployment { release: std::sync::Arc::new(app), ..deployment(0) };
        let env = of_hook(&deployment, HookPoint::PreDeploy, &Domain::localhost()).unwrap();
        let value = |key: &str| {
            let found = env.iter().find(|(known, _)| known.as_str() == key);
            found.map(|(_, value)| value.expose().to_owned())
        };
        assert_eq!(value("QUARK_TEAM").as_deref(), Some("mine"), "what the app says wins");
        assert_eq!(value("QUARK_HOOK").as_deref(), Some("pre_deploy"));
        assert_eq!(value("QUARK_BRANCH").as_deref(), Some("main"));
        assert_eq!((value("QUARK_SLOT"), value("QUARK_COMMIT")), (None, None));
    }
}
