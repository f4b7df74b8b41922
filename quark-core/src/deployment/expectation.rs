//! What a plan was made from: if it is not so any more, the plan is not
//! followed.

use serde::{Deserialize, Serialize};

use super::id::{DeploymentId, Version};
use super::record::Serving;

/// What was so when a deployment was planned, and must be so when its turn
/// comes. What passes by itself, such as a standby at the end of its grace, is
/// no part of it unless the plan needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// The version of what was said about the app.
    pub version: Version,
    /// The deployment that was live, if one was.
    pub live: Option<DeploymentId>,
    /// The standby that it goes back to, if that is what it does.
    #[serde(default)]
    pub standby: Option<DeploymentId>,
}

impl Expectation {
    /// What of it is not so, in words, if anything is not. `version` is not
    /// compared: a deployment has its release, whatever is said of the app by now.
    #[must_use]
    pub fn broken_by(&self, serving: &Serving) -> Option<String> {
        let live = serving.live.as_ref().map(|live| live.deployment);
        if live != self.live {
            return Some(match (self.live, live) {
                (_, Some(live)) => format!("deployment `{live}` is live by now"),
                (Some(before), None) => format!("deployment `{before}` is not live any more"),
                (None, None) => return None,
            });
        }
        let standby = serving.standby.as_ref().filter(|standby| !standby.retiring);
        let standby = standby.map(|standby| standby.occupant.deployment);
        let gone = self.standby.filter(|_| standby != self.standby)?;
        Some(format!("deployment `{gone}` does not stand by any more"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::deployment::{Occupant, Slot, Standby};

    fn occupant(deployment: DeploymentId, slot: Slot) -> Occupant {
        Occupant { deployment, slot, restores: None }
    }

    #[test]
    fn only_what_the_plan_needs_is_compared() {
        let [first, second, third] = [(); 3].map(|()| DeploymentId::generate());
        let mut serving = Serving { live: Some(occupant(second, Slot::Green)), ..Serving::default() };
        let deploys = Expectation { version: Version(3), live: Some(second), standby: None };
        let goes_back = Expectation { standby: Some(first), ..deploys.clone() };
        assert_eq!(deploys.broken_by(&serving), None);
        assert_eq!(goes_back.broken_by(&serving), Some(format!("deployment `{first}` does not stand by any more")));
        let standby = |retiring| {
            let occupant = occupant(first, Slot::Blue);
            Some(Standby { occupant, retire_at: Timestamp::from_micros(0), retiring })
        };
        serving.standby = standby(false);
        assert_eq!((deploys.broken_by(&serving), goes_back.broken_by(&serving)), (None, None));
        serving.standby = standby(true);
        assert!(goes_back.broken_by(&serving).is_some(), "it is being retired");
        serving.live = Some(occupant(third, Slot::Blue));
        assert_eq!(deploys.broken_by(&serving), Some(format!("deployment `{third}` is live by now")));
        serving.live = None;
        assert_eq!(deploys.broken_by(&serving), Some(format!("deployment `{second}` is not live any more")));
    }
}
