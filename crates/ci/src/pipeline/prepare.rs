//! From the bytes of a CI file to a plan: gather all that it includes, ask the code what rules need, plan.

use super::{Pipeline, predefined};
use crate::{
    Ci,
    config::{Assembly, Config},
    fault::{Fault, Faults, Pos},
    plan::{Context, Plan, plan},
    ports::ProjectInfo,
    rules::Surroundings,
    variable,
};
use bascule_core::Result;

/// A file that was read and planned for a commit.
pub(crate) struct Prepared {
    pub config: Config,
    pub plan: Plan,
}

impl Ci {
    /// Reads a file and all it includes, and plans it. `secrets`: whether rules may see the project's
    /// variables; whoever may ask which rules match could otherwise guess them letter by letter.
    pub(crate) async fn prepare(
        &self,
        pipeline: &mut Pipeline,
        info: &ProjectInfo,
        bytes: &[u8],
        secrets: bool,
    ) -> Result<Result<Prepared, Faults>> {
        let (project, sha) = (pipeline.project_id, pipeline.sha.clone());
        let Some(text) = text_of(bytes) else {
            return Ok(Err(not_text()));
        };
        let mut assembly = match Assembly::new(text) {
            Ok(assembly) => assembly,
            Err(faults) => return Ok(Err(faults)),
        };
        while let Some(path) = assembly.wanted() {
            let included = self.code.read_file(project, &sha, &path).await?;
            let text = included.as_deref().map(|bytes| text_of(bytes).unwrap_or("\u{0}"));
            if let Err(faults) = assembly.supply(&path, text) {
                return Ok(Err(faults));
            }
        }
        let config = match assembly.finish() {
            Ok(config) => config,
            Err(faults) => return Ok(Err(faults)),
        };
        let (by_changes, by_files) = config.asks_for();
        let changed = match &pipeline.before_sha {
            Some(before) if by_changes && !pipeline.tag => {
                Some(self.code.changed_paths(project, Some(before), &sha).await?)
            }
            _ => None,
        };
        let files = if by_files {
            self.code.list_paths(project, &sha).await?
        } else {
            Vec::new()
        };
        let mut over = match secrets {
            true => variable::for_jobs(&self.db, project, pipeline.protected).await?,
            false => Vec::new(),
        };
        over.extend(pipeline.variables.0.iter().cloned());
        let context = Context {
            around: Surroundings::new(
                &pipeline.reference,
                pipeline.tag,
                &pipeline.source,
                changed.as_deref(),
                &files,
            ),
            predefined: predefined::of_pipeline(pipeline, info, &self.options.base_url),
            over,
        };
        Ok(plan(&config, &context).map(|plan| Prepared { config, plan }))
    }
}

fn text_of(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes)
        .ok()
        .map(|text| text.trim_start_matches('\u{feff}'))
}

fn not_text() -> Faults {
    Faults(vec![Fault::new(
        Pos {
            file: 0,
            line: 1,
            column: 1,
        },
        "the file is not UTF-8 text",
        "save it as UTF-8",
    )])
}

impl Config {
    /// Whether any rule asks for changed files, and whether any asks for the files there are: finding them
    /// out takes time that most pipelines need not spend.
    #[must_use]
    pub fn asks_for(&self) -> (bool, bool) {
        let rules = || {
            let of_jobs = self.jobs.iter().filter_map(|job| job.rules.as_ref()).flatten();
            self.workflow.rules.iter().flatten().chain(of_jobs)
        };
        let refs = self
            .jobs
            .iter()
            .flat_map(|job| job.only.iter().chain(&job.except));
        let changes =
            rules().any(|rule| rule.changes.is_some()) || refs.into_iter().any(|r| r.changes.is_some());
        (changes, rules().any(|rule| rule.exists.is_some()))
    }
}
