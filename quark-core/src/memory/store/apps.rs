//! Apps: created, changed, and the names that they hold.

use super::tables::Tables;
use crate::Result;
use crate::app::{App, AppName, Domain};
use crate::backend::store::refusal;
use crate::clock::Timestamp;
use crate::deployment::{AppRecord, TeamId, Version};
use crate::planted::planted;

impl Tables {
    pub(super) fn create_app(&mut self, spec: App, at: Timestamp) -> Result<AppRecord> {
        if self.apps.contains_key(&spec.name) {
            return Err(refusal::app_exists(&spec.name));
        }
        self.check_domains(&spec)?;
        self.hold_domains(&spec);
        let record = AppRecord {
            team: TeamId::default(),
            serving: self.new_serving(),
            version: Version::default().next(),
            created_at: at,
            updated_at: at,
            removed_at: None,
            spec,
        };
        self.apps.insert(record.spec.name.clone(), record.clone());
        Ok(record)
    }

    pub(super) fn update_app(&mut self, spec: App, expected: Version, at: Timestamp) -> Result<AppRecord> {
        let record = self.apps.get(&spec.name).ok_or_else(|| refusal::app_not_found(&spec.name))?;
        if record.removed_at.is_some() {
            return Err(refusal::app_removed(&spec.name));
        }
        if let Some(environment) = &record.spec.environment {
            return Err(refusal::app_of_project(&spec.name, &environment.project));
        }
        if record.version != expected {
            return Err(refusal::version_changed());
        }
        self.replace_app(spec, at)
    }

    /// Says something else of an app that is there.
    pub(super) fn replace_app(&mut self, spec: App, at: Timestamp) -> Result<AppRecord> {
        self.check_domains(&spec)?;
        self.hold_domains(&spec);
        let record = self.apps.get_mut(&spec.name).ok_or_else(|| refusal::app_not_found(&spec.name))?;
        record.version = record.version.next();
        record.updated_at = at;
        record.spec = spec;
        Ok(record.clone())
    }

    /// Takes the app's row away and frees what it held; its history stays.
    pub(super) fn forget_app(&mut self, name: &AppName) {
        let forgotten = self.apps.remove(name);
        if let Some(environment) = forgotten.and_then(|app| app.spec.environment) {
            self.forget_project_if_done(&environment.project);
        }
        self.domains.retain(|_, app| app != name);
        self.endpoints.retain(|_, app| app != name || planted!(AddressesNotFreed));
    }

    pub(super) fn check_domains(&self, spec: &App) -> Result<()> {
        let taken = |domain: &&Domain| self.domains.get(*domain).is_some_and(|app| *app != spec.name);
        match spec.domains.iter().find(taken) {
            Some(domain) => Err(refusal::domain_taken(domain.as_str())),
            None => Ok(()),
        }
    }

    pub(super) fn hold_domains(&mut self, spec: &App) {
        self.domains.retain(|_, app| *app != spec.name);
        self.domains.extend(spec.domains.iter().map(|domain| (domain.clone(), spec.name.clone())));
    }
}
