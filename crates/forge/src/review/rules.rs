//! Who may approve, and what is still missing. Pure: everyone's role and groups are looked up anew for each
//! verdict, so that what was taken away counts no more.

use bascule_core::{Problem, Role, UserId};
use std::collections::{BTreeMap, BTreeSet};

/// The least role that approves.
pub(crate) const APPROVER: Role = Role::Developer;
/// The least role that stands in where a file's owners cannot.
pub(crate) const STAND_IN: Role = Role::Maintainer;
/// Names listed of those who could approve.
const NAMED: usize = 10;
/// Most people of whom an approval is waited for.
const AWAITED: usize = 50;

/// Someone and the role they hold in the project now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) id: UserId,
    pub(crate) name: String,
    pub(crate) role: Option<Role>,
}

/// An approval that was given and not taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) by: UserId,
    pub(crate) name: String,
    /// Whether the change is still the one that was approved.
    pub(crate) fresh: bool,
}

/// Whose approval counts for a demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Eligible {
    /// Everyone who may approve at all.
    Anyone,
    /// These alone.
    These(BTreeSet<UserId>),
    /// Those who own the files; maintainers, where none of these can.
    Owners(BTreeSet<UserId>),
}

/// One thing that must be approved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Demand {
    pub(crate) name: String,
    pub(crate) required: u32,
    pub(crate) eligible: Eligible,
    /// Why it is demanded.
    pub(crate) why: String,
    /// Owners are shown, but need not approve.
    pub(crate) optional: bool,
}

/// What a verdict stands on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Case {
    pub(crate) author: Option<UserId>,
    /// Whoever wrote or pushed one of the commits.
    pub(crate) writers: BTreeSet<UserId>,
    /// Whether these may not approve.
    pub(crate) writers_barred: bool,
    /// Members, and whoever approved.
    pub(crate) people: BTreeMap<UserId, Person>,
    pub(crate) given: Vec<Given>,
}

/// Why someone's approval does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bar {
    /// They opened the request.
    Author,
    /// They wrote a part of it.
    Writer,
    /// Their role is too low, or they have none any more.
    Role,
    /// The change is another one by now.
    Stale,
}

/// What became of one demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) why: String,
    pub(crate) optional: bool,
    pub(crate) required: u32,
    /// Whose approvals count for it.
    pub(crate) given: Vec<String>,
    /// How many are missing.
    pub(crate) missing: u32,
    /// Who could give them, the first few.
    pub(crate) could: Vec<String>,
    /// The same by account, where they are asked by name and not as anyone who may approve.
    pub(crate) awaited: Vec<UserId>,
    /// Maintainers stand in for owners of whom none may approve.
    pub(crate) stand_in: bool,
}

/// What all demands come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) outcomes: Vec<Outcome>,
    /// Approvals that do not count, and why.
    pub(crate) ignored: Vec<(String, Bar)>,
    /// Whose approvals count.
    pub(crate) approvers: Vec<String>,
    /// The same, by account.
    pub(crate) approver_ids: Vec<UserId>,
}

impl Case {
    /// Why this person may not approve, if so.
    pub(crate) fn bar(&self, id: UserId) -> Option<Bar> {
        let role = self.people.get(&id).and_then(|person| person.role);
        match () {
            () if role.is_none_or(|role| role < APPROVER) => Some(Bar::Role),
            () if self.author == Some(id) => Some(Bar::Author),
            () if self.writers_barred && self.writers.contains(&id) => Some(Bar::Writer),
            () => None,
        }
    }

    /// Weighs all demands.
    pub(crate) fn judge(&self, demands: Vec<Demand>) -> Verdict {
        let mut verdict = Verdict::default();
        let mut counting: BTreeMap<UserId, &str> = BTreeMap::new();
        for given in &self.given {
            match self.bar(given.by).or((!given.fresh).then_some(Bar::Stale)) {
                Some(bar) => verdict.ignored.push((given.name.clone(), bar)),
                None => {
                    counting.insert(given.by, &given.name);
                }
            }
        }
        verdict.approvers = counting.values().map(|name| (*name).to_owned()).collect();
        verdict.approver_ids = counting.keys().copied().collect();
        verdict.outcomes = demands
            .into_iter()
            .map(|demand| self.weigh(demand, &counting))
            .collect();
        verdict
    }

    fn weigh(&self, demand: Demand, counting: &BTreeMap<UserId, &str>) -> Outcome {
        let able = |id: &UserId| self.bar(*id).is_none();
        let stand_in = matches!(&demand.eligible, Eligible::Owners(owners) if !owners.iter().any(able));
        let counts = |id: &UserId| match &demand.eligible {
            Eligible::Anyone => true,
            Eligible::These(ids) => ids.contains(id),
            Eligible::Owners(_) if stand_in => {
                let role = self.people.get(id).and_then(|person| person.role);
                role.is_some_and(|role| role >= STAND_IN)
            }
            Eligible::Owners(ids) => ids.contains(id),
        };
        let given: Vec<String> = counting
            .iter()
            .filter(|(id, _)| counts(id))
            .map(|(_, name)| (*name).to_owned())
            .collect();
        let got = u32::try_from(given.len()).unwrap_or(u32::MAX);
        let missing = demand.required.saturating_sub(got);
        let (could, awaited) = if missing == 0 {
            (Vec::new(), Vec::new())
        } else {
            let mut names: Vec<&Person> = self
                .people
                .values()
                .filter(|person| able(&person.id) && counts(&person.id) && !counting.contains_key(&person.id))
                .collect();
            names.sort_by(|a, b| a.name.cmp(&b.name));
            let by_name = !demand.optional && demand.eligible != Eligible::Anyone;
            (
                names
                    .iter()
                    .take(NAMED)
                    .map(|person| person.name.clone())
                    .collect(),
                names
                    .iter()
                    .take(if by_name { AWAITED } else { 0 })
                    .map(|person| person.id)
                    .collect(),
            )
        };
        Outcome {
            name: demand.name,
            why: demand.why,
            optional: demand.optional,
            required: demand.required,
            given,
            missing,
            could,
            awaited,
            stand_in,
        }
    }
}

impl Bar {
    /// Said of an approval that does not count.
    pub(crate) const fn says(self) -> &'static str {
        match self {
            Self::Author => "opened the request",
            Self::Writer => "wrote or pushed a part of it",
            Self::Role => "has no longer a role that approves here",
            Self::Stale => "approved an earlier version",
        }
    }

    /// Told to someone who wants to approve.
    pub(crate) fn refusal(self) -> Problem {
        match self {
            Self::Author => Problem::new(403, "own_request", "You cannot approve your own merge request.")
                .why("An approval says that someone else has looked at the change.")
                .next("Ask a colleague to review it."),
            Self::Writer => Problem::new(
                403,
                "own_commits",
                "You cannot approve this merge request: a part of it is yours.",
            )
            .why("Whoever wrote or pushed a commit of a change does not see it with other eyes. This project has that rule.")
            .next("Ask someone who took no part in it."),
            Self::Role => Problem::new(403, "forbidden", "You may not approve merge requests here.")
                .why(format!("It needs at least the role `{APPROVER}` in this project."))
                .next("Ask a maintainer for that role."),
            Self::Stale => Problem::conflict("stale_head", "The merge request has changed since you looked at it.")
                .why("An approval is for one state of the change, which you name by its commit.")
                .next("Look at what is new, then approve that."),
        }
    }
}

impl Outcome {
    /// Whether nothing is missing that must be there.
    pub(crate) fn met(&self) -> bool {
        self.missing == 0 || self.optional
    }

    /// What is missing and who can give it, as one sentence.
    pub(crate) fn next(&self) -> String {
        if self.missing == 0 {
            return String::new();
        }
        let count = self.missing;
        let noun = if count == 1 { "approval" } else { "approvals" };
        let who = match (self.could.as_slice(), self.stand_in) {
            ([], _) => "nobody can give it now: give someone the role or change the rule".to_owned(),
            (names, false) => format!("ask {}", names.join(", ")),
            (names, true) => format!(
                "none of the owners can, so a maintainer stands in: ask {}",
                names.join(", ")
            ),
        };
        format!("{}: {count} {noun} missing; {who}", self.name)
    }
}

impl Verdict {
    /// Whether all that must be approved is.
    pub(crate) fn met(&self) -> bool {
        self.outcomes.iter().all(Outcome::met)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Scene {
        case: Case,
        ids: Vec<UserId>,
    }

    /// author, writer, developer, maintainer, reporter, one without a role.
    fn scene() -> Scene {
        let ids: Vec<UserId> = (0..6).map(|_| UserId::new()).collect();
        let roles = [
            Some(Role::Maintainer),
            Some(Role::Developer),
            Some(Role::Developer),
            Some(Role::Maintainer),
            Some(Role::Reporter),
            None,
        ];
        let people = ids
            .iter()
            .zip(roles)
            .enumerate()
            .map(|(n, (id, role))| {
                let person = Person {
                    id: *id,
                    name: format!("p{n}"),
                    role,
                };
                (*id, person)
            })
            .collect();
        let case = Case {
            author: Some(ids[0]),
            writers: BTreeSet::from([ids[1]]),
            writers_barred: true,
            people,
            given: Vec::new(),
        };
        Scene { case, ids }
    }

    fn demand(required: u32, eligible: Eligible) -> Demand {
        Demand {
            name: "rule".to_owned(),
            required,
            eligible,
            why: String::new(),
            optional: false,
        }
    }

    impl Scene {
        fn give(&mut self, who: usize, fresh: bool) {
            self.case.given.push(Given {
                by: self.ids[who],
                name: format!("p{who}"),
                fresh,
            });
        }

        fn these(&self, who: &[usize]) -> BTreeSet<UserId> {
            who.iter().map(|n| self.ids[*n]).collect()
        }
    }

    #[test]
    fn approvals_of_those_who_took_part_or_lost_their_role_do_not_count() {
        let mut scene = scene();
        for who in 0..6 {
            scene.give(who, true);
        }
        let verdict = scene.case.judge(vec![demand(3, Eligible::Anyone)]);
        assert_eq!(verdict.approvers, ["p2", "p3"]);
        assert_eq!(verdict.outcomes[0].missing, 1);
        assert!(!verdict.met());
        assert_eq!(
            verdict.ignored,
            [
                ("p0".to_owned(), Bar::Author),
                ("p1".to_owned(), Bar::Writer),
                ("p4".to_owned(), Bar::Role),
                ("p5".to_owned(), Bar::Role)
            ]
        );
        scene.case.writers_barred = false;
        assert!(scene.case.judge(vec![demand(3, Eligible::Anyone)]).met());
    }

    #[test]
    fn stale_approvals_do_not_count_and_are_shown() {
        let mut scene = scene();
        scene.give(2, false);
        let verdict = scene.case.judge(vec![demand(1, Eligible::Anyone)]);
        assert_eq!(verdict.ignored, [("p2".to_owned(), Bar::Stale)]);
        assert_eq!(verdict.outcomes[0].could, ["p2", "p3"]);
        assert!(!verdict.met());
    }

    #[test]
    fn only_those_who_are_asked_by_name_are_waited_for() {
        let scene = scene();
        let team = scene.these(&[2, 3, 4]);
        let optional = Demand {
            optional: true,
            ..demand(1, Eligible::These(team.clone()))
        };
        let all = vec![
            demand(2, Eligible::Anyone),
            demand(1, Eligible::These(team)),
            optional,
        ];
        let verdict = scene.case.judge(all);
        let awaited: Vec<&[UserId]> = verdict.outcomes.iter().map(|o| o.awaited.as_slice()).collect();
        let nobody: &[UserId] = &[];
        assert_eq!(awaited, [nobody, &scene.ids[2..4], nobody]);
    }

    #[test]
    fn a_team_without_members_is_approved_by_nobody_else() {
        let mut scene = scene();
        scene.give(3, true);
        let team = scene.these(&[4, 5]);
        let verdict = scene.case.judge(vec![demand(1, Eligible::These(team))]);
        assert!(!verdict.met());
        assert!(verdict.outcomes[0].could.is_empty());
        assert!(verdict.outcomes[0].next().contains("nobody"));
    }

    #[test]
    fn maintainers_stand_in_for_owners_who_cannot_approve() {
        let mut scene = scene();
        let owners = scene.these(&[0, 5]);
        scene.give(2, true);
        let one = |scene: &Scene| {
            scene
                .case
                .judge(vec![demand(1, Eligible::Owners(owners.clone()))])
        };
        assert!(!one(&scene).met());
        assert_eq!(one(&scene).outcomes[0].could, ["p3"]);
        scene.give(3, true);
        assert!(one(&scene).met());
        // While an owner can, nobody stands in.
        let owners = scene.these(&[0, 2]);
        scene.case.given.remove(0);
        let verdict = scene.case.judge(vec![demand(1, Eligible::Owners(owners))]);
        assert!(!verdict.met());
        assert_eq!(verdict.outcomes[0].could, ["p2"]);
    }

    proptest! {
        #[test]
        fn more_approvals_never_make_it_worse_and_nobody_counts_who_may_not(
            given in proptest::collection::vec((0usize..6, any::<bool>()), 0..8),
            more in (0usize..6, any::<bool>()),
            required in 0u32..4,
            owners in proptest::collection::btree_set(0usize..6, 0..4),
        ) {
            let mut scene = scene();
            for (who, fresh) in &given {
                scene.give(*who, *fresh);
            }
            let ids: Vec<usize> = owners.iter().copied().collect();
            let demands = |scene: &Scene| vec![
                demand(required, Eligible::Anyone),
                demand(required, Eligible::Owners(scene.these(&ids))),
                demand(required, Eligible::These(scene.these(&ids))),
            ];
            let before = scene.case.judge(demands(&scene));
            for name in &before.approvers {
                prop_assert!(name == "p2" || name == "p3");
            }
            for outcome in &before.outcomes {
                prop_assert!(outcome.missing + u32::try_from(outcome.given.len()).unwrap() >= required);
            }
            scene.give(more.0, more.1);
            let after = scene.case.judge(demands(&scene));
            prop_assert!(!before.met() || after.met());
        }
    }
}
