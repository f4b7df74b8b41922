//! Names never meet, whatever people call things.

use proptest::prelude::*;

use super::*;

fn project(text: &str) -> ProjectName {
    ProjectName::parse(text).unwrap()
}

fn branch(text: &str) -> BranchName {
    BranchName::parse(text).unwrap()
}

fn id() -> EnvironmentId {
    EnvironmentId::parse("0a1b2c3d").unwrap()
}

fn preview(text: &str) -> String {
    of_branch(&project("shop"), &branch(text)).unwrap().to_string()
}

fn environment(project_name: &str, name: &str) -> String {
    let name = EnvironmentName::parse(name).unwrap();
    of_environment(&project(project_name), &name, &id(), |_| false).unwrap().to_string()
}

#[test]
fn names_are_what_people_expect() {
    assert_eq!(project("shop").production().unwrap().as_str(), "shop");
    assert_eq!(environment("shop", "staging"), "shop-env-staging");
    assert_eq!(preview("fix-cart"), "shop-branch-fix-cart");
    assert_eq!(label_of_id(&project("shop"), &id()), "shop-env-id-0a1b2c3d");
}

#[test]
fn what_was_changed_or_cut_ends_in_digits() {
    assert!(preview("feature/a").starts_with("shop-branch-feature-a-"), "{}", preview("feature/a"));
    assert_ne!(preview("feature/a"), preview("feature-a"));
    assert_ne!(preview("Fix"), preview("fix"));
    // One that already looks as if it had been changed is changed.
    assert_ne!(preview("feature-a-0a1b2c3d"), "shop-branch-feature-a-0a1b2c3d");
    assert_eq!(preview(&"x".repeat(200)).len(), 40);
    assert_eq!(environment("shop", "deadbeef"), "shop-env-deadbeef-0a1b2c3d");
    assert_eq!(environment("a-very-long-name-xyz", "production-of-europe"), "a-very-long-name-xyz-env-produc-0a1b2c3d");
    // All of it is punctuation, as far as a host name goes.
    assert!(preview("_").starts_with("shop-branch-"));
}

#[test]
fn a_name_that_is_taken_is_not_taken_again() {
    let name = EnvironmentName::parse("staging").unwrap();
    let second = of_environment(&project("shop"), &name, &id(), |name| name == "shop-env-staging").unwrap();
    assert_eq!(second.as_str(), "shop-env-staging-0a1b2c3d");
}

#[test]
fn refuses_names_that_could_meet() {
    for bad in ["shop-env-x", "shop-env", "a-branch-b", "shop-branch"] {
        assert_eq!(ProjectName::parse(bad).unwrap_err().code(), "name_reserved", "{bad}");
    }
    for bad in ["", "A", "1a", "a-", &"a".repeat(21), "a.b", "a b"] {
        assert_eq!(ProjectName::parse(bad).unwrap_err().code(), "invalid_project_name", "{bad}");
    }
    for bad in ["id", "id-1", "", "A", "-a", "a_b", "a\n"] {
        assert_eq!(EnvironmentName::parse(bad).unwrap_err().code(), "invalid_environment_name", "{bad}");
    }
    for bad in ["", "0a1b2c3", "0a1b2c3dd", "0A1B2C3D", "xxxxxxxx"] {
        assert_eq!(EnvironmentId::parse(bad).unwrap_err().code(), "invalid_environment_id", "{bad}");
    }
    assert!(!is_reserved("environment-x") && !is_reserved("env-x") && !is_reserved("branches"));
    assert!(EnvironmentId::parse(EnvironmentId::generate().as_str()).is_ok());
}

/// Projects' names whose parts look like the separators.
fn projects() -> impl Strategy<Value = String> {
    let part = prop_oneof![Just("a"), Just("env"), Just("branch"), Just("id"), Just("b1")];
    proptest::collection::vec(part, 1..4).prop_map(|parts| parts.join("-"))
}

fn branches() -> impl Strategy<Value = String> {
    "[aA]([-/_.ab]|-env-|-branch-){0,30}[0-9a-f]{0,8}"
}

proptest! {
    /// The first of `-env-` and `-branch-` tells whose a name is.
    #[test]
    fn two_projects_never_share_a_name(
        one in projects(), other in projects(), names in ["a|env|env-a|branch-b", "[a-c]{1,12}"],
    ) {
        let (Ok(one), Ok(other)) = (ProjectName::parse(one), ProjectName::parse(other)) else { return Ok(()) };
        if one == other {
            return Ok(());
        }
        let all = |project: &ProjectName| -> Vec<String> {
            let mut all = vec![project.production().unwrap().to_string(), label_of_id(project, &id())];
            for name in &names {
                let environment = EnvironmentName::parse(name).unwrap();
                all.push(of_environment(project, &environment, &id(), |_| false).unwrap().to_string());
                all.push(of_branch(project, &branch(name)).unwrap().to_string());
            }
            all
        };
        let others = all(&other);
        prop_assert!(all(&one).iter().all(|name| !others.contains(name)), "{one} {other} {names:?}");
    }

    #[test]
    fn two_branches_never_share_a_name(one in branches(), other in branches()) {
        let (Ok(one), Ok(other)) = (BranchName::parse(one), BranchName::parse(other)) else { return Ok(()) };
        let names = (of_branch(&project("shop"), &one).unwrap(), of_branch(&project("shop"), &other).unwrap());
        prop_assert_eq!(one == other, names.0 == names.1, "{} {}", names.0, names.1);
    }

    /// Whatever a branch is called, its app has a name that an app may have.
    #[test]
    fn each_branch_has_a_name(text in "[-a-zA-Z0-9_./@#+=]{1,250}", name in "[a-z]([a-z0-9-]{0,18}[a-z0-9])?") {
        let (Ok(branch), Ok(project)) = (BranchName::parse(text), ProjectName::parse(name)) else { return Ok(()) };
        let name = of_branch(&project, &branch).unwrap();
        prop_assert!(is_reserved(name.as_str()) && name.as_str().starts_with(project.as_str()));
    }
}
