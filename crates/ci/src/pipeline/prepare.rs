//! From the bytes of a CI file to a plan: gather all that it includes, ask the code what rules need, plan.

use super::{Pipeline, predefined};
use crate::{
    Ci,
    config::{Answer, Assembly, Config, Facts, Include, Inputs, Tree, Wanted},
    fault::{Fault, Faults, Pos, shown},
    plan::{Context, FileKeys, Plan, plan},
    ports::{Fetched, ProjectInfo},
    rules::{Elsewhere, Glob, Surroundings},
    variables::{Values, expand, resolve},
    yaml::Node,
};
use bascule_core::{Actor, ProjectId, Result};
use bascule_wire::runner::Variable;
use std::collections::BTreeMap;

/// A file that was read and planned for a commit.
pub(crate) struct Prepared {
    pub config: Config,
    pub plan: Plan,
    /// The file with all that it includes, extends and references.
    pub merged: Node,
}

/// What a pipeline is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Text<'a> {
    /// The bytes of the project's CI file.
    File(&'a [u8]),
    /// What a child pipeline includes; and the files that jobs of its parent left, by job and path, that are
    /// among it.
    Child(&'a [Include], &'a BTreeMap<(String, String), String>),
}

/// How a configuration is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub info: &'a ProjectInfo,
    pub text: Text<'a>,
    /// Whose right counts for files of other projects.
    pub actor: &'a Actor,
    /// Whether rules may see the project's variables; whoever may ask which rules match could otherwise guess
    /// them letter by letter.
    pub secrets: bool,
    /// Values for the file's `spec:inputs`.
    pub inputs: &'a Inputs,
    /// Whether these are texts, to be read by the inputs' types.
    pub input_texts: bool,
    /// The commit from whose common past on files count as changed, rather than from the one before the push.
    pub since: Option<&'a str>,
}

impl Ci {
    /// Reads a file and all it includes, and plans it.
    pub(crate) async fn prepare(
        &self,
        pipeline: &mut Pipeline,
        ask: &Ask<'_>,
    ) -> Result<Result<Prepared, Faults>> {
        let mut over = match ask.secrets {
            true => self
                .reaching(&ask.info.group, pipeline.project_id)
                .await?
                .for_jobs(pipeline.protected, None),
            false => Vec::new(),
        };
        over.extend(pipeline.variables.0.iter().cloned());
        let predefined = predefined::of_pipeline(pipeline, ask.info, &self.options.base_url);
        // Boxed: what calls this would otherwise carry all of it on its stack.
        let gathered = Box::pin(self.gather(pipeline, ask, &predefined, &over)).await?;
        let (config, merged) = match gathered {
            Ok(gathered) => gathered,
            Err(faults) => return Ok(Err(faults)),
        };
        let plan = Box::pin(self.plan_config(pipeline, ask, &config, predefined, over)).await?;
        Ok(plan.map(|plan| Prepared { config, plan, merged }))
    }

    /// Plans a configuration for a pipeline's commit; `over` are variables that count over those of the file.
    pub(crate) async fn plan_config(
        &self,
        pipeline: &Pipeline,
        ask: &Ask<'_>,
        config: &Config,
        predefined: Vec<Variable>,
        over: Vec<Variable>,
    ) -> Result<Result<Plan, Faults>> {
        let project = pipeline.project_id;
        let values = known_values(config, &predefined, &over);
        let asks = config.asks(&values);
        let changed = match (&pipeline.before_sha, ask.since) {
            (_, Some(since)) if asks.changes => {
                countable(self.code.changed_since(project, since, &pipeline.sha).await)?
            }
            (Some(before), None) if asks.changes && !pipeline.tag => countable(
                self.code
                    .changed_paths(project, Some(before), &pipeline.sha)
                    .await,
            )?,
            _ => None,
        };
        let keys = config.key_files();
        let patterned = keys.iter().any(|(key, _)| is_pattern(key));
        let files = if asks.files || patterned {
            self.code.list_paths(project, &pipeline.sha).await?
        } else {
            Vec::new()
        };
        let elsewhere = match self.elsewhere(pipeline, ask, &asks).await? {
            Ok(elsewhere) => elsewhere,
            Err(fault) => return Ok(Err(Faults::from(fault).named(&config.files))),
        };
        let path = ask.info.path();
        let mut around = Surroundings::new(
            &pipeline.reference,
            pipeline.tag,
            &pipeline.source,
            changed.as_deref(),
            &files,
        );
        around.project = &path;
        around.elsewhere = Some(&elsewhere);
        // What the queue tries is what the trunk will be, so all jobs are part of it.
        around.merge_request = pipeline.source == "merge_request_event"
            && values.get("CI_MERGE_REQUEST_EVENT_TYPE").map(String::as_str) != Some("merge_train");
        let mut context = Context::new(around, predefined, over);
        context.file_keys = self.file_keys(pipeline, &keys, &files).await?;
        Ok(plan(config, &context))
    }

    /// Reads a file and all it includes.
    async fn gather(
        &self,
        pipeline: &Pipeline,
        ask: &Ask<'_>,
        predefined: &[Variable],
        over: &[Variable],
    ) -> Result<Result<(Config, Node), Faults>> {
        let facts = Facts {
            variables: resolve(&[predefined, over].concat()),
            open_variables: resolve(
                &predefined
                    .iter()
                    .chain(over)
                    .filter(|variable| !variable.masked && !variable.file)
                    .cloned()
                    .collect::<Vec<_>>(),
            ),
            host: host(&self.options.base_url).to_owned(),
            reference: pipeline.reference.clone(),
            tag: pipeline.tag,
            source: pipeline.source.clone(),
            inputs: ask.inputs.clone(),
            input_texts: ask.input_texts,
        };
        let begun = match ask.text {
            Text::File(bytes) => match text_of(bytes) {
                Some(text) => Assembly::with(text, facts),
                None => Err(not_text()),
            },
            Text::Child(includes, _) => Assembly::child(includes, facts),
        };
        let mut assembly = match begun {
            Ok(assembly) => assembly,
            Err(faults) => return Ok(Err(faults)),
        };
        let (mut lookups, mut paths) = (0, 0);
        loop {
            lookups += 1;
            if lookups > LOOKUPS || paths > PATHS {
                return Ok(Err(too_much(Pos::default()).into()));
            }
            match assembly.wanted() {
                Err(faults) => return Ok(Err(faults)),
                Ok(None) => break,
                Ok(Some(wanted)) => {
                    let answer = self.answer(pipeline, ask, &wanted).await?;
                    paths += answer.paths();
                    assembly.supply(wanted, answer);
                }
            }
        }
        Ok(assembly.finish_with_tree())
    }

    async fn answer(&self, pipeline: &Pipeline, ask: &Ask<'_>, wanted: &Wanted) -> Result<Answer> {
        let (own, sha) = (pipeline.project_id, &pipeline.sha);
        Ok(match wanted {
            Wanted::File { tree, paths } => {
                let (project, sha) = match self.place(pipeline, ask, tree).await? {
                    Ok(place) => place,
                    Err(no) => return Ok(no),
                };
                if sha.is_empty() {
                    return Ok(Answer::No(
                        format!("`{}` cannot be read: the project has no commit yet", shown(&paths.join("` or `"))),
                        "push it first, on any branch; included files are read from the project".to_owned(),
                    ));
                }
                for path in paths {
                    let read = match self.code.read_file(project, &sha, path).await {
                        Err(problem) if !problem.is_server_fault() => {
                            return Ok(Answer::No(
                                format!("`{}` cannot be read: {}", shown(path), problem.what),
                                String::new(),
                            ));
                        }
                        read => read?,
                    };
                    if let Some(bytes) = read {
                        return Ok(match text_of(&bytes) {
                            Some(text) => Answer::Text(text.to_owned()),
                            None => Answer::No(
                                format!("the included file `{}` is not UTF-8 text", shown(path)),
                                "save it as UTF-8".to_owned(),
                            ),
                        });
                    }
                }
                let path = paths.join("` or `");
                match tree {
                    Tree::Project { project, reference } => Answer::No(
                        format!(
                            "the project `{}` has no file `{}` at {}",
                            shown(project),
                            shown(&path),
                            reference.as_deref().map_or("its default branch".to_owned(), |r| format!("`{}`", shown(r)))
                        ),
                        "name a file that is there".to_owned(),
                    ),
                    _ => Answer::missing(&path),
                }
            }
            Wanted::Paths(tree) => match self.place(pipeline, ask, tree).await? {
                // Before the first push there are none.
                Ok((_, sha)) if sha.is_empty() => Answer::Paths(Some(Vec::new())),
                Ok((project, sha)) => Answer::Paths(Some(self.code.list_paths(project, &sha).await?)),
                Err(no) => no,
            },
            Wanted::Version(tree) => {
                let (project, sha) = match self.place(pipeline, ask, tree).await? {
                    Ok(place) => place,
                    Err(no) => return Ok(no),
                };
                let version = match tree {
                    Tree::Project {
                        reference: Some(reference),
                        ..
                    } => self.code.release(project, reference).await?,
                    _ => None,
                };
                Answer::Version { sha, version }
            }
            Wanted::Changes(None) => match &pipeline.before_sha {
                Some(before) if !pipeline.tag => {
                    Answer::Paths(countable(self.code.changed_paths(own, Some(before), sha).await)?)
                }
                _ => Answer::Paths(None),
            },
            Wanted::Changes(Some(to)) => match self.code.version(own, to).await? {
                Some(base) => match self.code.changed_since(own, &base, sha).await {
                    Err(problem) if !problem.is_server_fault() => {
                        let why = format!("what changed since `{}` cannot be told: {}", shown(to), problem.what);
                        Answer::No(why, problem.next)
                    }
                    paths => Answer::Paths(Some(paths?)),
                },
                None => no_such_ref(to),
            },
            Wanted::Remote(url) => match self.code.fetch(url).await? {
                Fetched::Text(text) => Answer::Text(text),
                Fetched::NotAllowed => Answer::No(
                    format!("this instance does not allow files from `{}`", shown(url)),
                    "ask the administrator to name the address in `ci_remote_includes`, or keep the file in a project here"
                        .to_owned(),
                ),
                Fetched::Failed(why) => Answer::No(
                    format!("`{}` cannot be fetched: {}", shown(url), shown(&why)),
                    "try again, or keep the file in a project here".to_owned(),
                ),
            },
            Wanted::Artifact { job, file } => {
                let known = match ask.text {
                    Text::Child(_, artifacts) => artifacts.get(&(job.clone(), file.clone())),
                    Text::File(_) => None,
                };
                match known {
                    Some(text) => Answer::Text(text.clone()),
                    None => Answer::No(
                        format!("the job `{}` left no file `{}`", shown(job), shown(file)),
                        "name it under `artifacts:paths` of a job that the trigger needs".to_owned(),
                    ),
                }
            }
        })
    }

    /// The project and commit that a tree means, for who starts the pipeline.
    async fn place(
        &self,
        pipeline: &Pipeline,
        ask: &Ask<'_>,
        tree: &Tree,
    ) -> Result<Result<(ProjectId, String), Answer>> {
        let Tree::Project { project, reference } = tree else {
            return Ok(Ok((pipeline.project_id, pipeline.sha.clone())));
        };
        let own = project.eq_ignore_ascii_case(&ask.info.path());
        let found = if own {
            Some(pipeline.project_id)
        } else {
            self.code.readable(ask.actor, project).await?
        };
        let Some(id) = found else {
            return Ok(Err(Answer::No(
                format!(
                    "there is no project `{}` that {} may read",
                    shown(project),
                    shown(&ask.actor.name)
                ),
                "who starts the pipeline needs the right to read that project's code".to_owned(),
            )));
        };
        let name = match reference {
            Some(reference) => reference.clone(),
            None => match self.code.project(id).await? {
                Some(info) => info.default_branch,
                None => return Ok(Err(no_such_ref("HEAD"))),
            },
        };
        Ok(match self.code.version(id, &name).await? {
            Some(sha) => Ok((id, sha)),
            None => Err(no_such_ref(&name)),
        })
    }

    /// What rules ask of other commits and projects.
    async fn elsewhere(
        &self,
        pipeline: &Pipeline,
        ask: &Ask<'_>,
        asks: &Asks,
    ) -> Result<Result<Elsewhere, Fault>> {
        let mut elsewhere = Elsewhere::default();
        let places = asks.compare_to.values().chain(asks.exists_in.values());
        if let Some(pos) = places.skip(PLACES).max() {
            return Ok(Err(Fault::new(
                *pos,
                "rules look at too many other commits and projects",
                format!("at most {PLACES} are allowed"),
            )));
        }
        let mut paths = 0;
        for (to, pos) in &asks.compare_to {
            if paths > PATHS {
                return Ok(Err(too_much(*pos)));
            }
            match self
                .answer(pipeline, ask, &Wanted::Changes(Some(to.clone())))
                .await?
            {
                Answer::Paths(found) => {
                    let found = found.unwrap_or_default();
                    paths += found.len();
                    elsewhere.changes.insert(to.clone(), found);
                }
                answer => return Ok(Err(fault_of(answer, *pos))),
            }
        }
        for ((project, reference), pos) in &asks.exists_in {
            if paths > PATHS {
                return Ok(Err(too_much(*pos)));
            }
            let tree = Tree::Project {
                project: project.clone(),
                reference: reference.clone(),
            };
            match self.answer(pipeline, ask, &Wanted::Paths(tree)).await? {
                Answer::Paths(found) => {
                    let place = (project.clone(), reference.clone());
                    let found = found.unwrap_or_default();
                    paths += found.len();
                    elsewhere.files.insert(place, found);
                }
                answer => return Ok(Err(fault_of(answer, *pos))),
            }
        }
        Ok(Ok(elsewhere))
    }

    async fn file_keys(
        &self,
        pipeline: &Pipeline,
        keys: &std::collections::BTreeSet<(&str, bool)>,
        files: &[String],
    ) -> Result<FileKeys> {
        let mut known = FileKeys::new();
        for (key, commits) in keys {
            let mut paths: Vec<String> = match Glob::new(key) {
                Ok(glob) if is_pattern(key) => {
                    files.iter().filter(|path| glob.matches(path)).cloned().collect()
                }
                _ => vec![(*key).to_owned()],
            };
            paths.sort();
            let (project, sha) = (pipeline.project_id, &pipeline.sha);
            let made = if *commits {
                self.code.last_commits(project, sha, &paths).await?
            } else {
                self.code.digests(project, sha, &paths).await?
            };
            let joined = made.into_iter().flatten().collect::<Vec<_>>().join(" ");
            if !joined.is_empty() {
                known.insert(((*key).to_owned(), *commits), joined);
            }
        }
        Ok(known)
    }
}

/// Most questions to the code that one configuration may ask while its files are gathered.
const LOOKUPS: usize = 400;
/// Most paths in all lists of files together that are kept for one configuration.
const PATHS: usize = 1_000_000;
/// Most other commits and projects that the rules of one configuration may look at.
const PLACES: usize = 50;

fn too_much(pos: Pos) -> Fault {
    Fault::new(
        pos,
        "the file looks up too much while it is put together",
        format!(
            "at most {LOOKUPS} files, lists of files and comparisons, and {PATHS} paths in such lists, are allowed"
        ),
    )
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

fn fault_of(answer: Answer, pos: Pos) -> Fault {
    match answer {
        Answer::No(what, next) => Fault::new(pos, what, next),
        _ => Fault::new(pos, "this cannot be looked up", ""),
    }
}

/// Changed paths; `None` where there are more than can be looked at, and then all counts as changed.
fn countable(paths: Result<Vec<String>>) -> Result<Option<Vec<String>>> {
    match paths {
        Err(problem) if !problem.is_server_fault() => Ok(None),
        paths => paths.map(Some),
    }
}

fn no_such_ref(name: &str) -> Answer {
    Answer::No(
        format!("there is no branch, tag or commit `{}`", shown(name)),
        "name one that is there".to_owned(),
    )
}

/// The server's name as `CI_SERVER_FQDN` tells it.
pub(super) fn host(base_url: &str) -> &str {
    base_url.split_once("://").map_or(base_url, |(_, rest)| rest)
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

/// Values that what a rule looks up elsewhere is named with.
fn known_values(config: &Config, predefined: &[Variable], over: &[Variable]) -> Values {
    let globals = config.variables.iter().map(crate::variables::of_file);
    resolve(
        &predefined
            .iter()
            .cloned()
            .chain(globals)
            .chain(over.iter().cloned())
            .collect::<Vec<_>>(),
    )
}

/// What rules ask of the repository. Finding it out takes time that most pipelines need not spend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asks {
    /// Whether any asks for what the push changed.
    pub changes: bool,
    /// Whether any asks for the files there are.
    pub files: bool,
    /// What else changes are compared with.
    pub compare_to: BTreeMap<String, Pos>,
    /// Where else files are looked for.
    pub exists_in: BTreeMap<(String, Option<String>), Pos>,
}

impl Config {
    pub(crate) fn asks(&self, values: &Values) -> Asks {
        let mut asks = Asks::default();
        let of_jobs = self.jobs.iter().filter_map(|job| job.rules.as_ref()).flatten();
        for rule in self.workflow.rules.iter().flatten().chain(of_jobs) {
            if let Some(changes) = &rule.changes {
                match &changes.compare_to {
                    None => asks.changes = true,
                    Some(to) => {
                        asks.compare_to.entry(expand(to, values)).or_insert(changes.pos);
                    }
                }
            }
            if let Some(exists) = &rule.exists {
                match &exists.project {
                    None => asks.files = true,
                    Some(project) => {
                        let reference = exists.reference.as_ref().map(|text| expand(text, values));
                        asks.exists_in
                            .entry((expand(project, values), reference))
                            .or_insert(exists.pos);
                    }
                }
            }
        }
        asks.changes |= self
            .jobs
            .iter()
            .flat_map(|job| job.only.iter().chain(&job.except))
            .any(|refs| refs.changes.is_some());
        asks
    }
}
