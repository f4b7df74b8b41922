//! Which projects are acceptable, and which environment gets a branch.

use proptest::prelude::*;

use super::*;
use crate::project::{BranchPattern, Overrides};

fn pattern(text: &str) -> BranchPattern {
    BranchPattern::parse(text).unwrap()
}

fn template() -> App {
    App::new("shop", Source::git("https://git.test/acme/shop", "main").unwrap()).unwrap()
}

fn project() -> Project {
    Project::of(template())
        .unwrap()
        .with_environment(Environment::production("main").unwrap())
        .with_environment(Environment::new("staging").unwrap().with_branch(pattern("develop")))
        .with_environment(Environment::new("preview").unwrap().with_branch(pattern("feature/*")).with_previews())
}

fn code(project: &Project) -> String {
    project.check().unwrap_err().code().to_owned()
}

#[test]
fn the_first_environment_that_is_for_a_branch_gets_it() {
    let rest = Environment::new("rest").unwrap().with_branch(pattern("*"));
    let project = project().with_environment(rest);
    project.check().unwrap();
    for (branch, name) in [
        ("main", "production"),
        ("develop", "staging"),
        ("feature/a", "preview"),
        ("other", "rest"),
        ("feature", "rest"),
    ] {
        let found = project.environment_for(&BranchName::parse(branch).unwrap());
        assert_eq!(found.map(|found| found.name.as_str()), Some(name), "{branch}");
    }
}

#[test]
fn refuses_what_cannot_be_meant() {
    let first = |change: &dyn Fn(&mut Environment)| {
        let mut project = project();
        change(&mut project.environments[0]);
        code(&project)
    };
    let last = |change: &dyn Fn(&mut Environment)| {
        let mut project = project();
        change(&mut project.environments[2]);
        code(&project)
    };
    assert_eq!(first(&|it| it.production = false), "one_production");
    assert_eq!(last(&|it| (it.production, it.previews) = (true, false)), "production_pattern");
    assert_eq!(first(&|it| it.branches = vec![pattern("main*")]), "production_pattern");
    assert_eq!(first(&|it| it.branches.clear()), "no_branch");
    assert_eq!(first(&|it| it.previews = true), "production_previews");
    assert_eq!(last(&|it| it.branches = vec![pattern("develop")]), "branch_shadowed");
    assert_eq!(first(&|it| it.branches.push(pattern("main"))), "branch_shadowed");
    assert_eq!(last(&|it| it.domains = vec!["a.test".parse().unwrap()]), "preview_domains");
    assert_eq!(last(&|it| it.overrides.port = Some(0)), "invalid_port");
    assert_eq!(last(&|it| it.name = "staging".parse().unwrap()), "environment_exists");
    let mut wide = project();
    wide.environments[1].branches = vec![pattern("*")];
    assert_eq!(code(&wide), "branch_shadowed");
    let template = Project { template: template().with_domain("a.test".parse().unwrap()), ..project() };
    assert_eq!(code(&template), "template_domains");
    let renamed = Project { name: "other".parse().unwrap(), ..project() };
    assert_eq!(code(&renamed), "template_name");
    let image = Project { template: App::new("shop", Source::image("shop:1").unwrap()).unwrap(), ..project() };
    assert_eq!(code(&image), "branch_needs_git");
    assert_eq!(
        Project::of(App::new("a-env-b", Source::image("x").unwrap()).unwrap()).unwrap_err().code(),
        "name_reserved"
    );
}

#[test]
fn an_image_has_environments_without_branches() {
    let production = Environment { production: true, ..Environment::new("production").unwrap() };
    let image = App::new("shop", Source::image("shop:1").unwrap()).unwrap();
    let project = Project::of(image).unwrap().with_environment(production);
    project.with_environment(Environment::new("staging").unwrap()).check().unwrap();
}

#[test]
fn production_stays() {
    let before = project();
    let mut renamed = before.clone();
    renamed.environments[0].name = "live".parse().unwrap();
    let mut exchanged = before.clone();
    exchanged.environments[0].id = super::EnvironmentId::generate();
    let gone = Project { environments: before.environments[1..].to_vec(), ..before.clone() };
    for changed in [renamed, exchanged, gone] {
        assert_eq!(changed.check_change(&before).unwrap_err().code(), "production_stays");
    }
    let mut fine = before.clone();
    fine.environments.reverse();
    fine.environments[0].overrides = Overrides { port: Some(1), ..Overrides::default() };
    fine.check_change(&before).unwrap();
}

#[test]
fn survives_a_round_trip_through_json_and_shows_no_value() {
    let project = project().with_environment(Environment::new("x").unwrap().with_env("TOKEN", "hunter2").unwrap());
    let text = serde_json::to_string(&project).unwrap();
    assert_eq!(serde_json::from_str::<Project>(&text).unwrap(), project);
    assert!(!format!("{project:?}").contains("hunter2"));
}

proptest! {
    /// No pattern that is accepted is in vain, and who gets a branch is for it.
    #[test]
    fn each_branch_goes_to_the_first_that_is_for_it(
        patterns in proptest::collection::vec("[ab]{0,2}\\*?[ab]{0,2}", 1..6), branch in "[ab]{1,5}",
    ) {
        let patterns: Vec<_> = patterns.iter().filter_map(|text| BranchPattern::parse(text).ok()).collect();
        let mut project = project();
        for (number, pattern) in patterns.iter().enumerate() {
            let environment = Environment::new(&format!("e{number}")).unwrap().with_branch(pattern.clone());
            project.environments.push(environment);
        }
        let branch = BranchName::parse(branch).unwrap();
        let found = project.environment_for(&branch);
        let first = project.environments.iter().find(|one| one.branches.iter().any(|pattern| pattern.matches(&branch)));
        prop_assert_eq!(found, first);
        if project.check().is_ok() {
            for (at, pattern) in patterns.iter().enumerate() {
                prop_assert!(!patterns[..at].iter().any(|earlier| earlier.covers(pattern)));
            }
        }
    }
}
