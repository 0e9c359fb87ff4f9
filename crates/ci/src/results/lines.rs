//! Lines that no test reached, and which pipelines' reports count together: a pipeline's own, and those of the child
//! pipelines that it waits for (`strategy`), as GitLab counts them.

use super::store;
use crate::{
    Ci, pipeline,
    trigger::{self, depends},
};
use bascule_core::{PipelineId, ProjectId, Result};
use std::collections::BTreeMap;

/// Lines by file, as spans of the first and the last.
pub type Lines = BTreeMap<String, Vec<(u32, u32)>>;

/// Files of a merged result that are compared with the request's own before lines are told.
const COMPARED: usize = 100;

impl Ci {
    /// Which pipelines' reports count for these: each with itself, and with each child below it that is waited for.
    pub(crate) async fn reporting(&self, asked: &[PipelineId]) -> Result<Vec<(PipelineId, PipelineId)>> {
        let mut all: Vec<(PipelineId, PipelineId)> = asked.iter().map(|id| (*id, *id)).collect();
        let mut level = all.clone();
        for _ in 0..trigger::NESTED {
            let above: Vec<PipelineId> = level.iter().map(|(_, member)| *member).collect();
            let below: Vec<pipeline::store::Born> = pipeline::store::born_of(&self.db, &above)
                .await?
                .into_iter()
                .filter(|born| depends(&born.spec.0))
                .collect();
            let mut next = Vec::new();
            for (asked, member) in &level {
                let own = below.iter().filter(|born| born.parent_id == *member);
                next.extend(own.map(|born| (*asked, born.id)));
            }
            if next.is_empty() {
                break;
            }
            all.extend(&next);
            level = next;
        }
        Ok(all)
    }

    /// The same for one.
    pub(crate) async fn reporting_for(&self, pipeline: PipelineId) -> Result<Vec<PipelineId>> {
        let all = self.reporting(&[pipeline]).await?;
        Ok(all.into_iter().map(|(_, member)| member).collect())
    }

    /// For which pipeline the reports of another count in the end: the one above that waits for it, or itself.
    pub(crate) async fn counts_for(&self, pipeline: PipelineId) -> Result<PipelineId> {
        let mut at = pipeline;
        for _ in 0..trigger::NESTED {
            match pipeline::store::birth(&self.db, at).await? {
                Some(born) if depends(&born.spec.0) => at = born.parent_id,
                _ => break,
            }
        }
        Ok(at)
    }

    /// The first pipeline for which one of these counts; children that nobody waits for count for none.
    pub(crate) async fn first_counted(&self, found: Vec<store::Finder>) -> Result<Option<PipelineId>> {
        for one in found {
            let whole = self.counts_for(one.id).await?;
            if one.source != pipeline::CHILD || whole != one.id {
                return Ok(Some(whole));
            }
        }
        Ok(None)
    }

    /// Lines that no test of a pipeline reached, by file: those that each report says so of that tells of the file.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn lines_missed(&self, pipeline: PipelineId) -> Result<Lines> {
        let members = self.reporting_for(pipeline).await?;
        let texts = store::missed(&self.db, &members).await?;
        let reports = texts
            .iter()
            .map(|text| serde_json::from_str::<Lines>(text).unwrap_or_default());
        Ok(missed_by_all(reports))
    }

    /// Lines of some files that no test reached, as the newest pipeline of a commit tells; nothing where none tells.
    /// A pipeline of a merged result is believed for those files that merging leaves as they are.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn lines_missed_at(&self, project: ProjectId, sha: &str, files: &[String]) -> Result<Lines> {
        let Some(pipeline) = pipeline::store::of_commit(&self.db, project, sha).await? else {
            return Ok(Lines::new());
        };
        let mut missed = self.lines_missed(pipeline.id).await?;
        missed.retain(|file, lines| !lines.is_empty() && files.contains(file));
        if pipeline.sha != sha {
            let mut same = Lines::new();
            for (file, lines) in missed.into_iter().take(COMPARED) {
                let own = self.code.read_file(project, sha, &file).await?;
                if own.is_some() && own == self.code.read_file(project, &pipeline.sha, &file).await? {
                    same.insert(file, lines);
                }
            }
            missed = same;
        }
        Ok(missed)
    }
}

/// What all reports miss that tell of a file.
fn missed_by_all(reports: impl Iterator<Item = Lines>) -> Lines {
    let mut all = Lines::new();
    for report in reports {
        for (file, mut lines) in report {
            lines.sort_unstable();
            let together = match all.get(&file) {
                Some(known) => both(known, &lines),
                None => lines,
            };
            all.insert(file, together);
        }
    }
    all.retain(|_, lines| !lines.is_empty());
    all
}

/// The lines that two lists of spans share, both in order.
fn both(left: &[(u32, u32)], right: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let (mut one, mut other) = (left.iter().copied().peekable(), right.iter().copied().peekable());
    let mut shared = Vec::new();
    while let (Some(a), Some(b)) = (one.peek().copied(), other.peek().copied()) {
        let span = (a.0.max(b.0), a.1.min(b.1));
        if span.0 <= span.1 {
            shared.push(span);
        }
        if a.1 < b.1 {
            one.next();
        } else {
            other.next();
        }
    }
    shared
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_line_that_one_job_reached_is_reached() {
        let report = |file: &str, lines: &[(u32, u32)]| Lines::from([(file.to_owned(), lines.to_vec())]);
        let all = missed_by_all(
            [
                report("a.rs", &[(1, 5), (9, 9)]),
                report("a.rs", &[(4, 9)]),
                report("b.rs", &[(2, 2)]),
                report("c.rs", &[(1, 3)]),
                report("c.rs", &[]),
            ]
            .into_iter(),
        );
        assert_eq!(
            all,
            Lines::from([
                ("a.rs".to_owned(), vec![(4, 5), (9, 9)]),
                ("b.rs".to_owned(), vec![(2, 2)])
            ])
        );
    }

    fn spans(lines: &BTreeSet<u32>) -> Vec<(u32, u32)> {
        let mut spans: Vec<(u32, u32)> = Vec::new();
        for line in lines {
            match spans.last_mut() {
                Some(last) if last.1 + 1 == *line => last.1 = *line,
                _ => spans.push((*line, *line)),
            }
        }
        spans
    }

    proptest! {
        #[test]
        fn shared_spans_are_the_shared_lines(
            left in prop::collection::btree_set(1_u32..60, 0..40),
            right in prop::collection::btree_set(1_u32..60, 0..40),
        ) {
            let shared: BTreeSet<u32> =
                both(&spans(&left), &spans(&right)).into_iter().flat_map(|(a, b)| a..=b).collect();
            prop_assert_eq!(shared, left.intersection(&right).copied().collect::<BTreeSet<u32>>());
        }
    }
}
