//! What to do so that what runs equals what is desired. Pure: no process, no clock, no network.

use bascule_core::InstanceId;
use bascule_wire::agent::{DesiredInstance, DesiredState};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// What an instance that the agent looks after was told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// To run.
    Run,
    /// To run until told to end, or until this time has passed since.
    Drain(Duration),
    /// To end.
    Stop,
}

/// An instance that the agent looks after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// What it was started from.
    pub spec: DesiredInstance,
    /// What it was told last.
    pub told: Told,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Look after an instance that nobody looks after yet.
    Start(Box<DesiredInstance>),
    /// Tell an instance that is looked after.
    Tell(InstanceId, Told),
    /// Report an instance as gone that was to drain and does not run (any more).
    Gone(Box<DesiredInstance>),
}

/// What to do, given what is desired, what is looked after, and what was reported as gone already.
///
/// An instance whose specification changed is stopped first; once it is gone the next plan starts it anew.
#[must_use]
pub fn plan(
    desired: &DesiredState,
    observed: &BTreeMap<InstanceId, Observed>,
    gone: &BTreeSet<InstanceId>,
) -> Vec<Action> {
    let mut actions = Vec::new();
    let wanted: BTreeMap<InstanceId, &DesiredInstance> = desired
        .instances
        .iter()
        .map(|instance| (instance.instance, instance))
        .collect();
    // Ends before starts, so that memory is there for what comes.
    for (id, present) in observed {
        let told = match wanted.get(id) {
            Some(wanted) if same(wanted, &present.spec) => told(wanted),
            _ => Told::Stop,
        };
        // What is ending ends; if it is wanted again, it is started once it is gone.
        if present.told != Told::Stop && present.told != told {
            actions.push(Action::Tell(*id, told));
        }
    }
    for (id, wanted) in &wanted {
        if observed.contains_key(id) {
            continue;
        }
        match told(wanted) {
            Told::Run => actions.push(Action::Start(Box::new((*wanted).clone()))),
            // Nothing runs that could drain, such as after the agent was started again.
            _ if !gone.contains(id) => actions.push(Action::Gone(Box::new((*wanted).clone()))),
            _ => {}
        }
    }
    actions
}

/// What the desired state tells an instance.
fn told(wanted: &DesiredInstance) -> Told {
    wanted
        .drain_ms
        .map_or(Told::Run, |ms| Told::Drain(Duration::from_millis(ms)))
}

/// Whether two specifications describe the same process.
fn same(a: &DesiredInstance, b: &DesiredInstance) -> bool {
    let mut a = a.clone();
    a.drain_ms = b.drain_ms;
    a == *b
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::desired;
    use proptest::prelude::*;

    fn state(instances: Vec<DesiredInstance>) -> DesiredState {
        DesiredState {
            revision: 1,
            instances,
            tasks: Vec::new(),
        }
    }

    fn looked_after(spec: &DesiredInstance, told: Told) -> BTreeMap<InstanceId, Observed> {
        BTreeMap::from([(
            spec.instance,
            Observed {
                spec: spec.clone(),
                told,
            },
        )])
    }

    #[test]
    fn what_is_desired_is_started_and_what_is_not_is_ended() {
        let (new, old) = (desired(), desired());
        let actions = plan(
            &state(vec![new.clone()]),
            &looked_after(&old, Told::Run),
            &BTreeSet::new(),
        );
        assert_eq!(
            actions,
            [
                Action::Tell(old.instance, Told::Stop),
                Action::Start(Box::new(new))
            ]
        );
    }

    #[test]
    fn draining_can_be_taken_back_until_the_end() {
        let running = desired();
        let mut draining = running.clone();
        draining.drain_ms = Some(500);
        let drain = Told::Drain(Duration::from_millis(500));
        let none = BTreeSet::new();
        let start = plan(
            &state(vec![draining.clone()]),
            &looked_after(&running, Told::Run),
            &none,
        );
        assert_eq!(start, [Action::Tell(running.instance, drain)]);
        let back = plan(
            &state(vec![running.clone()]),
            &looked_after(&running, drain),
            &none,
        );
        assert_eq!(back, [Action::Tell(running.instance, Told::Run)]);
        let late = plan(
            &state(vec![running.clone()]),
            &looked_after(&running, Told::Stop),
            &none,
        );
        assert!(late.is_empty());
        let again = plan(&state(vec![running.clone()]), &BTreeMap::new(), &none);
        assert_eq!(again, [Action::Start(Box::new(running))]);
    }

    #[test]
    fn a_changed_specification_ends_the_old_process_first() {
        let old = desired();
        let mut new = old.clone();
        new.command = "other".to_owned();
        let actions = plan(
            &state(vec![new.clone()]),
            &looked_after(&old, Told::Run),
            &BTreeSet::new(),
        );
        assert_eq!(actions, [Action::Tell(old.instance, Told::Stop)]);
    }

    #[test]
    fn what_should_drain_but_does_not_run_is_reported_gone_once() {
        let mut draining = desired();
        draining.drain_ms = Some(500);
        let wanted = state(vec![draining.clone()]);
        let first = plan(&wanted, &BTreeMap::new(), &BTreeSet::new());
        assert_eq!(first, [Action::Gone(Box::new(draining.clone()))]);
        assert!(plan(&wanted, &BTreeMap::new(), &BTreeSet::from([draining.instance])).is_empty());
    }

    proptest! {
        /// Whatever the start, carrying out plans until nothing is left to do ends with exactly what is desired.
        #[test]
        fn plans_converge(
            wanted in prop::collection::vec((any::<bool>(), any::<bool>()), 0..6),
            present in prop::collection::vec((any::<bool>(), any::<bool>(), 0_u8..3), 6..7),
        ) {
            let ids: Vec<_> = (0..6).map(|_| desired()).collect();
            let instances = ids.iter().zip(&wanted).filter(|(_, (there, _))| *there).map(|(spec, (_, drains))| {
                let mut spec = spec.clone();
                spec.drain_ms = drains.then_some(9);
                spec
            });
            let target = state(instances.collect());
            let mut observed: BTreeMap<_, _> = ids.iter().zip(&present).filter(|(_, (there, ..))| *there)
                .map(|(spec, (_, changed, told))| {
                    let mut spec = spec.clone();
                    if *changed { spec.command = "old".to_owned(); }
                    let told = [Told::Run, Told::Drain(Duration::from_millis(9)), Told::Stop][usize::from(*told)];
                    (spec.instance, Observed { spec, told })
                }).collect();
            let mut gone = BTreeSet::new();
            for _ in 0..10 {
                for action in plan(&target, &observed, &gone) {
                    match action {
                        Action::Start(spec) => {
                            let told = Told::Run;
                            let before = observed.insert(spec.instance, Observed { spec: *spec, told });
                            prop_assert!(before.is_none());
                        }
                        Action::Tell(id, told) => observed.get_mut(&id).unwrap().told = told,
                        Action::Gone(spec) => prop_assert!(gone.insert(spec.instance)),
                    }
                }
                // Those told to end are gone by the next round.
                observed.retain(|_, instance| instance.told != Told::Stop);
            }
            prop_assert!(plan(&target, &observed, &gone).is_empty());
            for wanted in &target.instances {
                match observed.get(&wanted.instance) {
                    Some(present) => {
                        prop_assert!(same(wanted, &present.spec));
                        prop_assert_eq!(present.told, told(wanted));
                    }
                    None => prop_assert!(gone.contains(&wanted.instance)),
                }
            }
            prop_assert!(observed.keys().all(|id| target.instances.iter().any(|wanted| wanted.instance == *id)));
        }
    }
}
