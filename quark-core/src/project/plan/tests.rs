//! What a change of a project means for its apps.

use proptest::prelude::*;

use super::*;
use crate::app::{BranchName, EnvKey, EnvVars, Secret, Source};
use crate::clock::Timestamp;
use crate::deployment::{Serving, TeamId, Version};
use crate::project::overlay::overlay;
use crate::project::{BranchPattern, EnvironmentId};

fn base() -> Domain {
    Domain::parse("apps.test").unwrap()
}

fn environment(name: &str, id: &str, branch: &str) -> Environment {
    let made = Environment::new(name).unwrap().with_branch(BranchPattern::parse(branch).unwrap());
    Environment { id: EnvironmentId::parse(id).unwrap(), ..made }
}

fn project() -> Project {
    let template = App::new("shop", Source::git("https://git.test/acme/shop", "main").unwrap()).unwrap();
    Project::of(template.with_port(8000).with_env("LEVEL", "info").unwrap().with_env("KEPT", "1").unwrap())
        .unwrap()
        .with_environment(Environment { production: true, ..environment("production", "00000001", "main") })
        .with_environment(environment("staging", "00000002", "develop").with_env("LEVEL", "debug").unwrap())
        .with_environment(environment("preview", "00000003", "feature/*").with_previews())
}

fn record(spec: App) -> AppRecord {
    let at = Timestamp::from_micros(0);
    let (team, serving) = (TeamId::default(), Serving::default());
    AppRecord { team, spec, serving, version: Version(1), created_at: at, updated_at: at, removed_at: None }
}

/// The apps that a project has after a plan.
fn after(plan: Plan) -> Vec<AppRecord> {
    plan.apps.into_iter().map(record).collect()
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.apps.iter().map(|app| app.name.as_str()).collect()
}

fn variables(app: &App) -> Vec<(String, String)> {
    app.env.iter().map(|(key, value)| (key.to_string(), value.expose().to_owned())).collect()
}

fn domains(app: &App) -> Vec<&str> {
    app.domains.iter().map(Domain::as_str).collect()
}

fn branch(text: &str) -> BranchName {
    BranchName::parse(text).unwrap()
}

/// A project with a preview of this branch.
fn with_preview(text: &str) -> (Project, Vec<AppRecord>) {
    let project = project();
    let mut apps = after(plan(&project, &[], &base()).unwrap());
    let app = preview(&project, &project.environments[2], &branch(text), &apps, &base()).unwrap();
    apps.push(record(app));
    (project, apps)
}

#[test]
fn an_environment_is_the_template_overlaid() {
    let planned = plan(&project(), &[], &base()).unwrap();
    assert_eq!(names(&planned), ["shop", "shop-env-staging"]);
    let [production, staging] = &planned.apps[..] else { panic!("two apps") };
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(variables(production), [pair("KEPT", "1"), pair("LEVEL", "info")]);
    assert_eq!(variables(staging), [pair("KEPT", "1"), pair("LEVEL", "debug")]);
    assert_eq!(domains(staging), ["shop-env-id-00000002.apps.test"]);
    assert_eq!(staging.port, 8000);
    let Source::Git { branch, .. } = &staging.source else { panic!("git") };
    assert_eq!(branch.as_str(), "develop");
    let own = staging.environment.as_ref().unwrap();
    assert_eq!((own.project.as_str(), own.name.as_str(), &own.branch), ("shop", "staging", &None));
}

#[test]
fn a_renamed_environment_keeps_its_app_and_gets_a_name_more() {
    let mut project = project();
    let apps = after(plan(&project, &[], &base()).unwrap());
    project.environments[1].name = "qa".parse().unwrap();
    let planned = plan(&project, &apps, &base()).unwrap();
    assert_eq!((names(&planned), planned.removed.len()), (vec!["shop", "shop-env-staging"], 0));
    assert_eq!(domains(&planned.apps[1]), ["shop-env-id-00000002.apps.test", "shop-env-qa.apps.test"]);
    // A new one of the old name gets another app, and the old one is nobody's second name.
    let again = project.clone().with_environment(environment("staging", "00000004", "next"));
    let planned = plan(&again, &after(planned), &base()).unwrap();
    assert_eq!(names(&planned), ["shop", "shop-env-staging", "shop-env-staging-00000004"]);
    assert_eq!(domains(&planned.apps[2]), ["shop-env-id-00000004.apps.test"]);
}

#[test]
fn previews_follow_the_project_and_go_when_nobody_wants_them() {
    let (mut project, apps) = with_preview("feature/cart");
    assert!(apps[2].spec.domains.is_empty());
    project.environments[2].overrides.port = Some(9);
    let planned = plan(&project, &apps, &base()).unwrap();
    assert_eq!(planned.apps[2].name, apps[2].spec.name);
    assert_eq!(planned.apps[2].port, 9);
    project.environments[2].branches = vec![BranchPattern::parse("fix/*").unwrap()];
    let planned = plan(&project, &apps, &base()).unwrap();
    assert_eq!(planned.removed, [apps[2].spec.name.clone()]);
    project.environments.truncate(1);
    let planned = plan(&project, &apps, &base()).unwrap();
    assert_eq!((names(&planned), planned.removed.len()), (vec!["shop"], 2));
}

#[test]
fn what_is_being_removed_keeps_its_name_and_is_left_alone() {
    let (project, mut apps) = with_preview("feature/cart");
    apps[1].removed_at = Some(Timestamp::from_micros(1));
    apps[2].removed_at = Some(Timestamp::from_micros(1));
    let planned = plan(&project, &apps, &base()).unwrap();
    assert_eq!((names(&planned), planned.removed.len()), (vec!["shop", "shop-env-staging-00000002"], 0));
}

#[test]
fn a_preview_never_takes_the_app_of_another_branch() {
    let (project, mut apps) = with_preview("feature/cart");
    let other = branch("feature/other");
    let made = preview(&project, &project.environments[2], &other, &apps, &base()).unwrap();
    // Two hashes that are alike, say.
    apps[2].spec.name = made.name;
    let refused = preview(&project, &project.environments[2], &other, &apps, &base()).unwrap_err();
    assert_eq!(refused.code(), "preview_name_taken");
}

#[test]
fn a_plan_is_its_own_fixed_point() {
    let (project, apps) = with_preview("feature/cart");
    let planned = plan(&project, &apps, &base()).unwrap();
    let specs: Vec<App> = apps.iter().map(|app| app.spec.clone()).collect();
    assert_eq!((planned.apps, planned.removed.len()), (specs, 0));
}

fn vars(values: &std::collections::BTreeMap<String, String>) -> EnvVars {
    let mut vars = EnvVars::new();
    for (key, value) in values {
        vars.set(EnvKey::parse(key).unwrap(), Secret::new(value.as_str())).unwrap();
    }
    vars
}

proptest! {
    #[test]
    fn the_narrower_one_wins(
        below in proptest::collection::btree_map("[A-D]", "[ab]", 0..4),
        above in proptest::collection::btree_map("[A-D]", "[cd]", 0..4),
    ) {
        let mut wanted = below.clone();
        wanted.extend(above.clone());
        prop_assert_eq!(overlay(&vars(&below), &vars(&above)).unwrap(), vars(&wanted));
    }
}
