//! Whether the rules of an include let it in.

use super::{Assembly, Step};
use crate::{
    config::{Answer, Tree, Wanted, When, ask::refused, include::Asked},
    fault::Fault,
    rules::{COMPARISONS, Surroundings},
    variables::expand as expand_text,
};

impl Assembly {
    /// `include:rules`: a step to ask for more, an empty step where no rule matches, `None` to go on.
    pub(super) fn judge(&self, tree: &Tree, asked: &Asked) -> Result<Option<Step>, Fault> {
        let Some(rules) = &asked.rules else {
            return Ok(None);
        };
        let nothing: &[String] = &[];
        for rule in rules {
            let (mut files, mut changed) = (nothing, Some(nothing));
            if rule.exists.is_some() {
                let wanted = Wanted::Paths(tree.clone());
                match self.known.get(&wanted) {
                    None => return Ok(Some(Step::Ask(wanted))),
                    Some(Answer::Paths(paths)) => files = paths.as_deref().unwrap_or_default(),
                    Some(answer) => return Err(refused(answer, rule.pos)),
                }
            }
            if let Some(changes) = &rule.changes {
                let to = changes
                    .compare_to
                    .as_ref()
                    .map(|to| expand_text(to, &self.facts.variables));
                let wanted = Wanted::Changes(to);
                match self.known.get(&wanted) {
                    None => return Ok(Some(Step::Ask(wanted))),
                    Some(Answer::Paths(paths)) => changed = paths.as_deref(),
                    Some(answer) => return Err(refused(answer, rule.pos)),
                }
            }
            let around = Surroundings::new(
                &self.facts.reference,
                self.facts.tag,
                &self.facts.source,
                changed,
                files,
            );
            // What `compare_to` names was asked for above, so that here one list is all there is.
            let matches = rule.plain().matches(&around, &self.facts.variables);
            self.compared
                .set(self.compared.get().saturating_add(around.compared()));
            if self.compared.get() > COMPARISONS {
                return Err(Fault::new(
                    rule.pos,
                    "the rules of `include` compare too many patterns with too many files",
                    format!(
                        "at most {} million comparisons are allowed",
                        COMPARISONS / 1_000_000
                    ),
                ));
            }
            if matches {
                let never = rule.when == Some(When::Never);
                return Ok(never.then(|| Step::Found(Vec::new())));
            }
        }
        Ok(Some(Step::Found(Vec::new())))
    }
}
