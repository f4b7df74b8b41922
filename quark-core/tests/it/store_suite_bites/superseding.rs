//! A store with one fault: deployments that are created, and what becomes of
//! those before them.

use quark_core::backend::store::refusal;
use quark_core::backend::{CancelOutcome, CreatedDeployment, NewJob};
use quark_core::deployment::{CancelRequest, IdempotencyKey, SupersedePolicy, Superseding};
use quark_core::{AppName, Conclusion, Deployment, DeploymentId, DeploymentKind, ErrorKind, Queue, Result, Store};
use tokio::task::yield_now;

use super::broken::Broken;
use super::fault::Fault;

impl Broken {
    pub(super) async fn create(
        &self,
        wanted: Deployment,
        job: NewJob,
        policy: SupersedePolicy,
    ) -> Result<CreatedDeployment> {
        if let Some(known) = self.known_beforehand(&wanted, policy).await? {
            return Ok(known);
        }
        let before = self.unfinished_of(&wanted.app).await?;
        let next = self.next_sequence(&wanted.app).await?;
        let races = [Fault::RacesForSequences, Fault::RacesForKeys, Fault::RacesToSupersede, Fault::RacesForTheOnlyOne];
        let mut draft = wanted.clone();
        if self.fault == Fault::IgnoresKeys || self.fault == Fault::RacesForKeys && !self.is_known(&wanted).await? {
            draft.key = Some(another_key());
        }
        if races.contains(&self.fault) {
            yield_now().await;
        }
        if self.fault == Fault::MarksNoRemoval && wanted.kind == DeploymentKind::Remove {
            draft.kind = DeploymentKind::Deploy;
        }
        let bent = self.bend_policy(policy, &before);
        match self.inner.create_deployment(draft.clone(), job.clone(), bent).await {
            Ok(created) => {
                if let Some(next) = next {
                    self.memory().sequences.insert(created.deployment.id, next);
                }
                let created = self.after_creation(&wanted, job, policy, &before, created).await?;
                let kind = if created.existing { created.deployment.kind.clone() } else { wanted.kind };
                let deployment = self.bend(Deployment { kind, ..created.deployment });
                let ended = created.ended.into_iter().map(|ended| self.bend(ended)).collect();
                Ok(CreatedDeployment { deployment, ended, ..created })
            }
            Err(error) => match (self.fault, error.code()) {
                (Fault::DeploysUnknownApps, "app_not_found") | (Fault::DeploysRemovedApps, "app_removed") => {
                    Ok(found(wanted, false))
                }
                (Fault::QueuesRefusedJobs, _) => {
                    self.queue.enqueue(job).await?;
                    Err(error)
                }
                (Fault::EndsBeforeItRefuses, "deployment_under_way") => {
                    self.stop_all(&before, &wanted).await?;
                    Err(error)
                }
                (Fault::KeepsRefusedKeys, "deployment_under_way") => {
                    self.memory().refused.extend(wanted.key);
                    Err(error)
                }
                _ => Err(error),
            },
        }
    }

    /// What a faulty store answers before it looks at anything else.
    async fn known_beforehand(
        &self,
        wanted: &Deployment,
        policy: SupersedePolicy,
    ) -> Result<Option<CreatedDeployment>> {
        match self.fault {
            Fault::SharesKeys => {
                for app in self.inner.apps().await? {
                    let all = self.inner.deployments(&app.spec.name, None, usize::MAX).await?;
                    let same = all.into_iter().find(|known| known.key.is_some() && known.key == wanted.key);
                    if let Some(same) = same {
                        return Ok(Some(found(same, true)));
                    }
                }
            }
            Fault::KnowsKeysTooLate => {
                let app = self.inner.app(&wanted.app).await?;
                if app.is_some_and(|app| app.removed_at.is_some()) {
                    return Err(refusal::app_removed(&wanted.app));
                }
            }
            Fault::RefusesForEver if policy == SupersedePolicy::Reject => {
                if let Some(earlier) = self.inner.deployments(&wanted.app, None, 1).await?.first() {
                    return Err(refusal::deployment_under_way(earlier.id));
                }
            }
            Fault::KeepsRefusedKeys => {
                let refused = wanted.key.as_ref().is_some_and(|key| self.memory().refused.contains(key));
                return Ok(refused.then(|| found(wanted.clone(), true)));
            }
            _ => {}
        }
        Ok(None)
    }

    fn bend_policy(&self, policy: SupersedePolicy, before: &[Deployment]) -> SupersedePolicy {
        let active = before.iter().any(|earlier| earlier.state.is_active());
        match (self.fault, policy) {
            (Fault::IgnoresPolicies, _) => SupersedePolicy::Coalesce,
            (Fault::SupersedesNothing | Fault::RacesToSupersede, policy) if policy != SupersedePolicy::Reject => {
                SupersedePolicy::Serial
            }
            (Fault::RefusesNothing, SupersedePolicy::Reject) => SupersedePolicy::Serial,
            (Fault::RefusesForWhatIsActive, SupersedePolicy::Reject) if !active => SupersedePolicy::Serial,
            (Fault::RacesForTheOnlyOne, SupersedePolicy::Reject) if before.is_empty() => SupersedePolicy::Serial,
            _ => policy,
        }
    }

    /// What a faulty store does and says once a deployment was created.
    async fn after_creation(
        &self,
        wanted: &Deployment,
        job: NewJob,
        policy: SupersedePolicy,
        before: &[Deployment],
        mut created: CreatedDeployment,
    ) -> Result<CreatedDeployment> {
        let existing = created.existing;
        match self.fault {
            Fault::ForgetsKeysOfEnded if existing && created.deployment.state.is_terminal() => {
                let draft = Deployment { key: Some(another_key()), ..wanted.clone() };
                return self.inner.create_deployment(draft, job, SupersedePolicy::Serial).await;
            }
            Fault::QueuesWhatIsKnown if existing => {
                self.queue.enqueue(job).await?;
            }
            Fault::SupersedesForWhatIsKnown if existing => {
                let others: Vec<_> = before.iter().filter(|other| other.id != created.deployment.id).cloned().collect();
                self.stop_all(&others, wanted).await?;
            }
            Fault::CallsKnownNew => created.existing = false,
            Fault::SupersedesOtherApps if policy == SupersedePolicy::Coalesce => {
                let mut others = self.inner.unfinished(None).await?;
                others.retain(|other| other.app != wanted.app);
                self.stop_all(&others, wanted).await?;
            }
            Fault::HidesWhatEnded => created.ended.clear(),
            Fault::HidesWhatStops => created.stopping.clear(),
            Fault::RacesToSupersede if wanted.kind == DeploymentKind::Deploy && !existing => {
                for earlier in before {
                    match policy.verdict(wanted, earlier) {
                        Superseding::Ends => {
                            self.stop_all(std::slice::from_ref(earlier), wanted).await?;
                            created.ended.extend(self.inner.deployment(earlier.id).await?);
                        }
                        Superseding::Stops => {
                            self.stop_all(std::slice::from_ref(earlier), wanted).await?;
                            created.stopping.push(earlier.id);
                        }
                        Superseding::Stays | Superseding::Refuses => {}
                    }
                }
            }
            _ => {}
        }
        Ok(created)
    }

    async fn stop_all(&self, deployments: &[Deployment], newer: &Deployment) -> Result<()> {
        for deployment in deployments {
            let request = CancelRequest::superseded_by(&newer.created_by, newer.id, newer.created_at);
            self.inner.request_cancel(deployment.id, request).await?;
        }
        Ok(())
    }

    async fn unfinished_of(&self, app: &AppName) -> Result<Vec<Deployment>> {
        self.inner.unfinished(Some(app)).await
    }

    async fn is_known(&self, wanted: &Deployment) -> Result<bool> {
        let all = self.inner.deployments(&wanted.app, None, usize::MAX).await?;
        Ok(all.iter().any(|known| known.key.is_some() && known.key == wanted.key))
    }

    /// The number that a store which counts in its own way gives next.
    async fn next_sequence(&self, app: &AppName) -> Result<Option<u64>> {
        let count = self.inner.deployments(app, None, usize::MAX).await?.len() as u64;
        let forgotten = self.memory().forgotten.get(app).copied().unwrap_or_default();
        Ok(match self.fault {
            Fault::CountsFromZero => Some(count),
            Fault::CountsAllAppsTogether => Some(self.memory().sequences.len() as u64 + 1),
            Fault::RacesForSequences => Some(count + 1),
            Fault::CountsNamesakesAnew => Some(count + 1 - forgotten),
            _ => None,
        })
    }

    pub(super) async fn cancel(&self, id: DeploymentId, request: CancelRequest) -> Result<CancelOutcome> {
        let outcome = self.inner.request_cancel(id, request.clone()).await;
        if matches!(outcome, Ok(CancelOutcome::Requested)) {
            self.memory().cancels.entry(id).or_default().push(request);
        }
        match (self.fault, outcome) {
            (Fault::CancelsTooLate, Ok(_)) | (Fault::OnlyRequestsWhatEnds, Ok(CancelOutcome::Ended)) => {
                Ok(CancelOutcome::Requested)
            }
            (Fault::NeverCancels, Ok(_)) => Ok(CancelOutcome::TooLate),
            (Fault::CancelsUnknown, Err(error)) if error.kind() == ErrorKind::NotFound => Ok(CancelOutcome::TooLate),
            (Fault::EndsTwice, Ok(CancelOutcome::TooLate)) => {
                let ended = self.inner.deployment(id).await?.is_some_and(|deployment| ended_unbegun(&deployment));
                Ok(if ended { CancelOutcome::Ended } else { CancelOutcome::TooLate })
            }
            (_, outcome) => outcome,
        }
    }
}

/// Whether a deployment was ended by the store itself.
pub(super) fn ended_unbegun(deployment: &Deployment) -> bool {
    matches!(deployment.conclusion, Some(Conclusion::Cancelled | Conclusion::Superseded))
}

fn found(deployment: Deployment, existing: bool) -> CreatedDeployment {
    CreatedDeployment { deployment, existing, ended: Vec::new(), stopping: Vec::new() }
}

fn another_key() -> IdempotencyKey {
    IdempotencyKey::parse(DeploymentId::generate().to_string()).unwrap()
}
