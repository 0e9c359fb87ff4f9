//! Recalls: releases that are called back, and recalls that are lifted.

use super::{Listed, store};
use crate::{Delivery, plan::Change};
use bascule_core::{Actor, Caller, Problem, ProjectId, Result};
use bascule_ledger::facts::{advisories::RecallLifted, delivery::ReleaseRecalled};
use bascule_planner::{Matcher, Version};
use bascule_store::Tx;

impl Delivery {
    /// Recalls the releases that a range means: no environment takes them any more, and those that run one leave
    /// it, forward where they can, back only to `floor`. Said again, it corrects reason and floor.
    ///
    /// # Errors
    /// The range or floor is none, means no release, no reason is given, or nothing would change.
    pub async fn recall(
        &self,
        caller: &Caller,
        project: ProjectId,
        range: &str,
        reason: &str,
        floor: &str,
    ) -> Result<Vec<String>> {
        let reason = reason.trim();
        if reason.is_empty() {
            return Err(Problem::invalid("reason_missing", "A recall needs a reason.")
                .why("Everyone whose environment is held or moved by it reads the reason.")
                .next("Say in one sentence what is wrong with the release."));
        }
        let floor = floor.trim();
        let least = match floor {
            "" => None,
            text => Some(text.parse::<Version>().map_err(|bad| {
                Problem::invalid("bad_floor", format!("{bad}."))
                    .next("Name the oldest version that may be gone back to, such as 1.1.0.")
            })?),
        };
        let meant = self.meant(project, range).await?;
        let lowest = meant
            .iter()
            .filter_map(|l| l.version.parse::<Version>().ok())
            .min();
        if let (Some(least), Some(lowest)) = (&least, &lowest)
            && least >= lowest
        {
            return Err(Problem::invalid(
                "bad_floor",
                format!("{least} is not older than {lowest}, which is recalled."),
            )
            .why("The floor is where an environment may go back to when nothing newer may be there.")
            .next("Name an older version, or none: then environments only go forward."));
        }
        let tx = self.db.begin().await?;
        let mut recalled = Vec::new();
        for listed in meant {
            let fact = ReleaseRecalled {
                project,
                release: listed.release_id,
                version: listed.version.clone(),
                reason: reason.to_owned(),
                floor: floor.to_owned(),
            };
            if self.call_back(&tx, &caller.actor, &fact).await? {
                recalled.push(listed.version);
            }
        }
        if recalled.is_empty() {
            return Err(Problem::conflict(
                "recalled_already",
                format!("What {range} means is recalled already, for this reason and with this floor."),
            )
            .why("A recall holds until it is lifted; saying it again changes nothing.")
            .next("Name another reason or floor to correct it, or lift it."));
        }
        self.replan_for(&tx, Change::Product(project)).await?;
        tx.commit().await?;
        Ok(recalled)
    }

    /// Lifts the recall of the releases that a range means: environments take them again.
    ///
    /// # Errors
    /// The range is none, means no release that is recalled, or no reason is given.
    pub async fn lift_recall(
        &self,
        caller: &Caller,
        project: ProjectId,
        range: &str,
        reason: &str,
    ) -> Result<Vec<String>> {
        let reason = reason.trim();
        if reason.is_empty() {
            return Err(
                Problem::invalid("reason_missing", "Lifting a recall needs a reason.")
                    .why("Whoever is to run the release again reads why that is safe now.")
                    .next("Say in one sentence why it was recalled in error."),
            );
        }
        let meant = self.meant(project, range).await?;
        let tx = self.db.begin().await?;
        let mut lifted = Vec::new();
        for listed in meant {
            let fact = RecallLifted {
                project,
                release: listed.release_id,
                version: listed.version.clone(),
                reason: reason.to_owned(),
            };
            if self.let_back(&tx, &caller.actor, &fact).await? {
                lifted.push(listed.version);
            }
        }
        if lifted.is_empty() {
            return Err(Problem::conflict(
                "not_recalled",
                format!("Nothing that {range} means is recalled."),
            )
            .why("Only a recall can be lifted.")
            .next("`bascule product` and the product's page show what is recalled."));
        }
        self.replan_for(&tx, Change::Product(project)).await?;
        tx.commit().await?;
        Ok(lifted)
    }

    /// Calls one release back, with its fact; `false` where it was before, for the same reason and to the same floor.
    pub(crate) async fn call_back(&self, tx: &Tx, actor: &Actor, fact: &ReleaseRecalled) -> Result<bool> {
        let new = store::recall(tx, fact.release, &fact.reason, &fact.floor).await?;
        if new {
            self.ledger.append(tx, actor, fact).await?;
        }
        Ok(new)
    }

    /// Lifts the recall of one release, with its fact; `false` where there is none.
    pub(crate) async fn let_back(&self, tx: &Tx, actor: &Actor, fact: &RecallLifted) -> Result<bool> {
        let new = store::lift_recall(tx, fact.release).await?;
        if new {
            self.ledger.append(tx, actor, fact).await?;
            // A finding that counts calls it back at once.
            self.weigh(tx, fact.release).await?;
        }
        Ok(new)
    }

    /// The releases that a range means.
    async fn meant(&self, project: ProjectId, range: &str) -> Result<Vec<Listed>> {
        let matcher: Matcher = range
            .parse()
            .map_err(|bad: bascule_planner::version::BadVersion| {
                Problem::invalid("bad_range", format!("{bad}."))
                    .next("Name one version, or a family such as 1.2.x.")
            })?;
        let known = store::of_project(&self.db, project).await?;
        let (meant, others): (Vec<_>, Vec<_>) = known.into_iter().partition(|listed| {
            let version = listed.version.parse();
            version.is_ok_and(|version| matcher.admits(&version))
        });
        if !meant.is_empty() {
            return Ok(meant);
        }
        let problem = Problem::invalid("no_release", format!("No release is meant by {range}."))
            .why("A version is meant as it is written, and a family such as 3.0.x with its x; what was published with a bascule.yaml can be recalled.");
        let known: Vec<_> = others.iter().take(5).map(|l| l.version.as_str()).collect();
        Err(problem.next(match known.as_slice() {
            [] => "The project has no release with a bascule.yaml yet.".to_owned(),
            some => format!("Its newest are {}.", some.join(", ")),
        }))
    }
}
