//! Putting the files of one configuration together. The files come from the caller one by one, so that this
//! stays free of I/O: ask [`Assembly::wanted`], answer with [`Assembly::supply`], then [`Assembly::finish`].

use super::{
    Answer, Config, Facts, Include, Source, Tree, Wanted,
    address::{checked, component, genuine, is_yaml, project_path},
    ask::{header_of, refused, too_many},
    expand,
    include::{self, Asked, For},
    inputs::{self, Declared, Inputs},
    interpolate::{Known, interpolate},
    merge::merge,
    reader::Reader,
    top,
};
use crate::{
    fault::{CI_FILE, Fault, Faults, Pos, name_files, shown},
    rules::Glob,
    templates,
    variables::expand as expand_text,
    yaml::{self, Budget, Node, Value},
};
use std::{
    cell::Cell,
    collections::{HashMap, VecDeque},
    fmt,
    rc::Rc,
};

mod judge;

/// Most files that one configuration may be made of (GitLab's limit).
pub const FILES: usize = 150;
/// Deepest chain of files that include files (GitLab's limit).
pub const DEPTH: usize = 100;

/// A configuration while its files are being gathered.
pub struct Assembly {
    facts: Facts,
    names: Vec<String>,
    files: Vec<File>,
    known: HashMap<Wanted, Answer>,
    /// Where a file stands in `files`, by what it is and the inputs it was given.
    index: HashMap<(Identity, String), usize>,
    texts: HashMap<Identity, String>,
    waiting: VecDeque<Waiting>,
    /// The project's own file while what its header names is not there yet.
    root: Option<String>,
    budget: Budget,
    reader: Reader,
    /// What the rules of includes have asked for so far (see [`COMPARISONS`]).
    compared: Cell<usize>,
}

impl fmt::Debug for Assembly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assembly")
            .field("files", &self.names)
            .finish_non_exhaustive()
    }
}

/// Which text a file is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Identity {
    In(Tree, String),
    Remote(String),
    Template(String),
    Artifact(String, String),
}

/// What a file's header needs from elsewhere.
#[derive(Default)]
struct Prior {
    /// Inputs that other files declare.
    external: Vec<Declared>,
    /// What a component asked to know of itself.
    component: Inputs,
}

/// What is there before a file is read, or what must be asked for.
enum Before {
    Ask(Wanted),
    Ready(Prior),
}

/// A text that is to become one of the files.
struct Reading<'a> {
    text: &'a str,
    name: &'a str,
    tree: Tree,
    given: &'a Inputs,
    /// Where the include stands.
    at: Pos,
    prior: Prior,
    /// The place that was kept for it.
    slot: Option<usize>,
}

struct File {
    node: Node,
    tree: Tree,
    /// For each `include`, the files it stands for.
    children: Vec<Vec<usize>>,
}

impl File {
    /// One that holds no jobs.
    fn nothing(tree: Tree) -> Self {
        Self {
            node: Node {
                pos: Pos::default(),
                value: Value::Mapping(Vec::new()),
            },
            tree,
            children: Vec::new(),
        }
    }
}

struct Waiting {
    parent: usize,
    slot: usize,
    asked: Asked,
}

/// A text found for an include.
struct Found {
    identity: Identity,
    name: String,
    tree: Tree,
}

enum Step {
    Ask(Wanted),
    Found(Vec<Found>),
}

impl Assembly {
    /// Starts from the text of the project's CI file, for a branch that nothing is known of.
    ///
    /// # Errors
    /// The text is not YAML, not a map, over a limit, or includes what cannot be included.
    pub fn new(text: &str) -> Result<Self, Faults> {
        Self::with(text, Facts::default())
    }

    /// Starts from the text of the project's CI file.
    ///
    /// # Errors
    /// The text is not YAML, not a map, over a limit, or includes what cannot be included.
    pub fn with(text: &str, facts: Facts) -> Result<Self, Faults> {
        let mut assembly = Self::empty(facts);
        if header_of(text).is_some() {
            assembly.root = Some(text.to_owned());
            // The project's own file is the first, whatever its header needs before it can be read.
            assembly.names.push(CI_FILE.to_owned());
            assembly.files.push(File::nothing(Tree::Own));
            return Ok(assembly);
        }
        let result = assembly.read_root(text, Prior::default(), None);
        assembly.named(result)?;
        Ok(assembly)
    }

    fn read_root(&mut self, text: &str, prior: Prior, slot: Option<usize>) -> Result<usize, Faults> {
        let given = std::mem::take(&mut self.facts.inputs);
        self.read(Reading {
            text,
            name: CI_FILE,
            tree: Tree::Own,
            given: &given,
            at: Pos::default(),
            prior,
            slot,
        })
    }

    /// Starts from what a child pipeline includes.
    ///
    /// # Errors
    /// It includes what cannot be included.
    pub fn child(includes: &[Include], facts: Facts) -> Result<Self, Faults> {
        let mut assembly = Self::empty(facts);
        let start = Pos {
            file: 0,
            line: 1,
            column: 1,
        };
        assembly.names.push(CI_FILE.to_owned());
        assembly.files.push(File {
            node: Node {
                pos: start,
                value: Value::Mapping(Vec::new()),
            },
            tree: Tree::Own,
            children: vec![Vec::new(); includes.len()],
        });
        for (slot, include) in includes.iter().enumerate() {
            assembly.waiting.push_back(Waiting {
                parent: 0,
                slot,
                asked: Asked {
                    include: include.clone(),
                    pos: start,
                    rules: None,
                },
            });
        }
        Ok(assembly)
    }

    fn empty(facts: Facts) -> Self {
        Self {
            facts,
            names: Vec::new(),
            files: Vec::new(),
            known: HashMap::new(),
            index: HashMap::new(),
            texts: HashMap::new(),
            waiting: VecDeque::new(),
            root: None,
            budget: Budget::default(),
            reader: Reader::default(),
            compared: Cell::new(0),
        }
    }

    /// What is needed next; `None` once all is there.
    ///
    /// # Errors
    /// A file is missing, may not be included, or is wrong by itself.
    pub fn wanted(&mut self) -> Result<Option<Wanted>, Faults> {
        if let Some(text) = self.root.clone() {
            let before = self.before(&text, &Tree::Own, None);
            let prior = match self.named(before)? {
                Before::Ask(wanted) => return Ok(Some(wanted)),
                Before::Ready(prior) => prior,
            };
            self.root = None;
            let result = self.read_root(&text, prior, Some(0));
            self.named(result)?;
        }
        while let Some(waiting) = self.waiting.front() {
            let (parent, slot, asked) = (waiting.parent, waiting.slot, waiting.asked.clone());
            let tree = self
                .files
                .get(parent)
                .map(|file| file.tree.clone())
                .unwrap_or_default();
            let step = self.step(&tree, &asked);
            let found = match self.named(step.map_err(Faults::from))? {
                Step::Ask(wanted) => return Ok(Some(wanted)),
                Step::Found(found) => found,
            };
            let mut ready = Vec::with_capacity(found.len());
            for found in found {
                let text = self.text_of(&found.identity).unwrap_or_default();
                let before = self.before(&text, &found.tree, Some(&asked.include.source));
                match self.named(before)? {
                    Before::Ask(wanted) => return Ok(Some(wanted)),
                    Before::Ready(prior) => ready.push((found, prior)),
                }
            }
            self.waiting.pop_front();
            for (found, prior) in ready {
                let file = self.take(found, &asked, prior);
                let file = self.named(file)?;
                if let Some(children) = self.files.get_mut(parent).and_then(|f| f.children.get_mut(slot)) {
                    children.push(file);
                }
            }
        }
        Ok(None)
    }

    /// Answers [`Assembly::wanted`].
    pub fn supply(&mut self, wanted: Wanted, answer: Answer) {
        self.known.insert(wanted, answer);
    }

    /// Merges the files and checks the whole.
    ///
    /// # Errors
    /// All that is wrong, in order of place.
    pub fn finish(self) -> Result<Config, Faults> {
        self.finish_with_tree().map(|(config, _)| config)
    }

    /// As [`Assembly::finish`], with the merged file as YAML: includes, `extends`, references and anchors
    /// resolved.
    ///
    /// # Errors
    /// All that is wrong, in order of place.
    pub fn finish_with_tree(mut self) -> Result<(Config, Node), Faults> {
        let result = self.whole();
        match result {
            Ok((mut config, tree)) => {
                config.warnings = std::mem::take(&mut self.reader.warnings);
                name_files(&mut config.warnings, &self.names);
                config.files = self.names;
                Ok((config, tree))
            }
            Err(faults) => Err(faults.named(&self.names)),
        }
    }

    fn whole(&mut self) -> Result<(Config, Node), Faults> {
        let mut done = HashMap::new();
        let merged = self.merged(0, Pos::default(), &mut Vec::new(), &mut done)?;
        let merged = Rc::try_unwrap(merged).unwrap_or_else(|shared| (*shared).clone());
        let tree = expand::references(merged, &mut self.budget)?;
        let config = top::read(&tree, &mut self.budget, &mut self.reader);
        if !self.reader.faults.is_empty() {
            return Err(Faults(std::mem::take(&mut self.reader.faults)));
        }
        match config {
            Some(config) => Ok((config, tree)),
            None => Err(Faults::one(tree.pos, "the file holds no configuration", "")),
        }
    }

    fn named<T>(&mut self, result: Result<T, Faults>) -> Result<T, Faults> {
        let result = match result {
            Ok(_) if !self.reader.faults.is_empty() => Err(Faults(std::mem::take(&mut self.reader.faults))),
            other => other,
        };
        result.map_err(|faults| faults.named(&self.names))
    }

    /// What a text's header needs before the text can be read: other files' inputs, a component's version.
    fn before(&mut self, text: &str, tree: &Tree, source: Option<&Source>) -> Result<Before, Faults> {
        let Some(header) = header_of(text) else {
            return Ok(Before::Ready(Prior::default()));
        };
        let mut prior = Prior::default();
        let component = match source {
            Some(Source::Component(address)) => Some(address),
            _ => None,
        };
        // Its faults are told when the text itself is read.
        let fields = inputs::component_fields(&header, &mut Reader::default());
        if let Some(address) = component
            && !fields.is_empty()
        {
            let wanted = Wanted::Version(tree.clone());
            let (sha, version) = match self.known.get(&wanted) {
                None => return Ok(Before::Ask(wanted)),
                Some(Answer::Version { sha, version }) => (sha.clone(), version.clone()),
                Some(_) => (String::new(), None),
            };
            let address = expand_text(address, &self.facts.open_variables);
            let (path, reference) = address.rsplit_once('@').unwrap_or((&address, ""));
            let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
            for field in fields {
                let value = match field.as_str() {
                    "name" => name.into(),
                    "sha" => sha.clone().into(),
                    "reference" => reference.into(),
                    _ => version.clone().into(),
                };
                prior.component.insert(field, value);
            }
        }
        let Some(include) = header.get("spec").and_then(|spec| spec.get("include")) else {
            return Ok(Before::Ready(prior));
        };
        let mut reader = Reader::default();
        let asked = include::read(include, "spec:include", For::Spec, &mut reader);
        let mut texts = Vec::new();
        for asked in asked.iter().filter(|_| component.is_none()) {
            match self.step(tree, asked)? {
                Step::Ask(wanted) => return Ok(Before::Ask(wanted)),
                Step::Found(found) => texts.extend(found),
            }
        }
        for found in texts {
            if self.files.len() >= FILES {
                return Err(too_many(include.pos).into());
            }
            let text = self.text_of(&found.identity).unwrap_or_default();
            let number = u16::try_from(self.names.len()).unwrap_or(u16::MAX);
            self.names.push(found.name);
            let node = yaml::read(&text, number, &mut self.budget, &mut self.reader.warnings)?;
            prior.external.extend(inputs::external(&node, &mut self.reader));
            // Names and files go side by side.
            self.files.push(File::nothing(found.tree));
        }
        Ok(Before::Ready(prior))
    }

    /// The values of a file's inputs, and what its component knows of itself, put into the file.
    fn filled(&mut self, header: &Node, body: Node, reading: &Reading<'_>) -> Result<Node, Faults> {
        let reader = &mut self.reader;
        let mut declared = reading.prior.external.clone();
        for input in inputs::declared(header, reader) {
            if declared.iter().any(|other| other.name() == input.name()) {
                reader.fault(
                    input.pos(),
                    format!("the input `{}` is declared twice", shown(input.name())),
                    "declare it in one file: here, or in one that `spec:include` names",
                );
            }
            declared.push(input);
        }
        let spec = |key: &str| header.get("spec").and_then(|spec| spec.get(key));
        if let Some(include) = spec("include") {
            include::read(include, "spec:include", For::Spec, reader);
            if !reading.prior.component.is_empty() {
                reader.fault(
                    include.pos,
                    "a component cannot have `spec:include`",
                    "declare its inputs in its own file",
                );
            }
        }
        let fields = inputs::component_fields(header, reader);
        if let (Some(at), true) = (spec("component"), reading.prior.component.is_empty())
            && !fields.is_empty()
        {
            reader.fault(
                at.pos,
                "`spec:component` stands in a file that is not included as a component",
                "include it by `component`, or take the line away",
            );
        }
        let mut given = std::borrow::Cow::Borrowed(reading.given);
        if self.facts.input_texts && reading.name == CI_FILE {
            inputs::read_texts(&declared, given.to_mut());
        }
        let values = inputs::settle(&declared, &given, reading.at, reader);
        if !reader.faults.is_empty() {
            return Err(Faults(std::mem::take(&mut reader.faults)));
        }
        let known = Known {
            inputs: &values,
            component: &reading.prior.component,
            variables: &self.facts.open_variables,
        };
        Ok(interpolate(body, known, &mut self.budget)?)
    }

    /// Reads one text into `files`.
    fn read(&mut self, reading: Reading<'_>) -> Result<usize, Faults> {
        let number = reading.slot.unwrap_or(self.names.len());
        if reading.slot.is_none() {
            self.names.push(reading.name.to_owned());
        }
        let number = u16::try_from(number).unwrap_or(u16::MAX);
        let document = yaml::read_file(reading.text, number, &mut self.budget, &mut self.reader.warnings)?;
        let mut node = document.body;
        let (given, at) = (reading.given, reading.at);
        if let Some(header) = &document.header {
            node = self.filled(header, node, &reading)?;
        } else if !given.is_empty() {
            inputs::settle(&[], given, at, &mut self.reader);
            return Err(Faults(std::mem::take(&mut self.reader.faults)));
        }
        if node.entries().is_none() {
            let what = if node.is_null() {
                "the file is empty".to_owned()
            } else {
                format!("the file is {}", node.describe())
            };
            return Err(Faults::one(
                node.pos,
                what,
                "a map of jobs and settings is expected",
            ));
        }
        let includes = match node.get("include") {
            None => Vec::new(),
            Some(include) => include::read(include, "include", For::File, &mut self.reader),
        };
        let parent = reading.slot.unwrap_or(self.files.len());
        for (slot, asked) in includes.iter().enumerate() {
            self.waiting.push_back(Waiting {
                parent,
                slot,
                asked: asked.clone(),
            });
        }
        let file = File {
            node,
            tree: reading.tree,
            children: vec![Vec::new(); includes.len()],
        };
        match self.files.get_mut(parent) {
            Some(kept) => *kept = file,
            None => self.files.push(file),
        }
        Ok(parent)
    }

    /// What one include stands for, or what must be known to tell.
    fn step(&self, tree: &Tree, asked: &Asked) -> Result<Step, Fault> {
        if let Some(step) = self.judge(tree, asked)? {
            return Ok(step);
        }
        // A fault would tell what a masked variable holds.
        let expanded = |text: &str| expand_text(text, &self.facts.open_variables);
        match &asked.include.source {
            Source::Local(path) => {
                let path = checked(&expanded(path), asked.pos, *tree == Tree::Nowhere)?;
                if path.contains(['*', '?', '[', '{']) {
                    return self.pattern(&path, tree, asked);
                }
                Ok(self.file(tree.clone(), vec![path], asked)?)
            }
            Source::Project {
                project,
                reference,
                file,
            } => {
                let tree = Tree::Project {
                    project: project_path(&expanded(project), asked.pos)?,
                    reference: reference.as_deref().map(expanded),
                };
                let path = checked(&expanded(file), asked.pos, false)?;
                Ok(self.file(tree, vec![path], asked)?)
            }
            Source::Component(address) => {
                let (tree, paths) = component(&expanded(address), &self.facts.host, asked.pos)?;
                Ok(self.file(tree, paths, asked)?)
            }
            Source::Remote { url, integrity } => {
                let url = expanded(url);
                let wanted = Wanted::Remote(url.clone());
                match self.known.get(&wanted) {
                    None => Ok(Step::Ask(wanted)),
                    Some(Answer::Text(text)) => {
                        if let Some(digest) = integrity {
                            genuine(text, digest, asked.pos)?;
                        }
                        Ok(Step::Found(vec![Found {
                            identity: Identity::Remote(url.clone()),
                            name: url,
                            tree: Tree::Nowhere,
                        }]))
                    }
                    Some(answer) => Err(refused(answer, asked.pos)),
                }
            }
            Source::Template(name) => match templates::find(name) {
                Some(_) => Ok(Step::Found(vec![Found {
                    identity: Identity::Template(name.clone()),
                    name: format!("template {name}"),
                    tree: Tree::Nowhere,
                }])),
                None => Err(Fault::new(
                    asked.pos,
                    format!("there is no template `{}`", shown(name)),
                    format!(
                        "templates are: {}",
                        templates::names().collect::<Vec<_>>().join(", ")
                    ),
                )),
            },
            Source::Artifact { job, file } => {
                let wanted = Wanted::Artifact {
                    job: job.clone(),
                    file: file.clone(),
                };
                match self.known.get(&wanted) {
                    None => Ok(Step::Ask(wanted)),
                    Some(Answer::Text(_)) => Ok(Step::Found(vec![Found {
                        identity: Identity::Artifact(job.clone(), file.clone()),
                        name: format!("{file} of {job}"),
                        tree: Tree::Own,
                    }])),
                    Some(answer) => Err(refused(answer, asked.pos)),
                }
            }
        }
    }

    fn pattern(&self, path: &str, tree: &Tree, asked: &Asked) -> Result<Step, Fault> {
        let wanted = Wanted::Paths(tree.clone());
        let paths = match self.known.get(&wanted) {
            None => return Ok(Step::Ask(wanted)),
            Some(Answer::Paths(paths)) => paths.as_deref().unwrap_or_default(),
            Some(answer) => return Err(refused(answer, asked.pos)),
        };
        let glob = Glob::crossing(path)
            .map_err(|why| Fault::new(asked.pos, format!("`{}` is no pattern: {why}", shown(path)), ""))?;
        let mut chosen: Vec<&String> = paths
            .iter()
            .filter(|path| glob.matches(path) && is_yaml(path))
            .collect();
        chosen.sort();
        if chosen.len() > FILES {
            return Err(too_many(asked.pos));
        }
        let mut found = Vec::new();
        for path in chosen {
            match self.file(tree.clone(), vec![path.clone()], asked)? {
                Step::Found(one) => found.extend(one),
                ask @ Step::Ask(_) => return Ok(ask),
            }
        }
        if found.is_empty() {
            return Err(Fault::new(
                asked.pos,
                format!("no file matches `{}`", shown(path)),
                "`*` stays within a folder, `**` crosses folders; the files end in .yml or .yaml",
            ));
        }
        Ok(Step::Found(found))
    }

    fn file(&self, tree: Tree, paths: Vec<String>, asked: &Asked) -> Result<Step, Fault> {
        let wanted = Wanted::File { tree, paths };
        let Some(answer) = self.known.get(&wanted) else {
            return Ok(Step::Ask(wanted));
        };
        let Wanted::File { tree, mut paths } = wanted else {
            return Ok(Step::Found(Vec::new()));
        };
        match answer {
            Answer::Text(_) => {
                let path = paths.swap_remove(0);
                Ok(Step::Found(vec![Found {
                    name: match &tree {
                        Tree::Project { project, .. } => format!("{project}:{path}"),
                        _ => path.clone(),
                    },
                    identity: Identity::In(tree.clone(), path),
                    tree,
                }]))
            }
            answer => Err(refused(answer, asked.pos)),
        }
    }

    /// Reads what was found, unless the same file with the same inputs was read before.
    fn take(&mut self, found: Found, asked: &Asked, prior: Prior) -> Result<usize, Faults> {
        let given = &asked.include.inputs;
        let key = (
            found.identity.clone(),
            serde_json::to_string(given).unwrap_or_default(),
        );
        if let Some(file) = self.index.get(&key) {
            return Ok(*file);
        }
        if self.files.len() >= FILES {
            return Err(too_many(asked.pos).into());
        }
        let text = self.text_of(&found.identity).unwrap_or_default();
        let file = self.read(Reading {
            text: &text,
            name: &found.name,
            tree: found.tree,
            given,
            at: asked.pos,
            prior,
            slot: None,
        })?;
        self.index.insert(key, file);
        Ok(file)
    }

    fn text_of(&mut self, identity: &Identity) -> Option<String> {
        if let Identity::Template(name) = identity {
            return templates::find(name).map(str::to_owned);
        }
        if let Some(text) = self.texts.get(identity) {
            return Some(text.clone());
        }
        let text = self.known.iter().find_map(|(wanted, answer)| {
            let same = match (wanted, identity) {
                (Wanted::File { tree, paths }, Identity::In(of, path)) => {
                    tree == of && paths.first() == Some(path)
                }
                (Wanted::Remote(url), Identity::Remote(of)) => url == of,
                (Wanted::Artifact { job, file }, Identity::Artifact(of_job, of_file)) => {
                    job == of_job && file == of_file
                }
                _ => false,
            };
            match answer {
                Answer::Text(text) if same => Some(text.clone()),
                _ => None,
            }
        })?;
        self.texts.insert(identity.clone(), text.clone());
        Some(text)
    }

    /// The file merged over all that it includes.
    fn merged(
        &mut self,
        file: usize,
        at: Pos,
        stack: &mut Vec<usize>,
        done: &mut HashMap<usize, Rc<Node>>,
    ) -> Result<Rc<Node>, Fault> {
        if let Some(node) = done.get(&file) {
            return Ok(node.clone());
        }
        if stack.contains(&file) {
            let names: Vec<String> = stack
                .iter()
                .chain([&file])
                .filter_map(|file| self.names.get(*file))
                .map(|name| shown(name))
                .collect();
            return Err(Fault::new(
                at,
                format!(
                    "`{}` includes itself, through {}",
                    names.last().map_or("", String::as_str),
                    names.join(" → ")
                ),
                "remove one of these includes",
            ));
        }
        if stack.len() >= DEPTH {
            return Err(Fault::new(
                at,
                "files include files too deeply",
                format!("at most {DEPTH} levels are allowed"),
            ));
        }
        let Some(File { node, children, .. }) = self.files.get_mut(file) else {
            return Err(Fault::new(at, "an included file was lost", ""));
        };
        let children: Vec<usize> = children.iter().flatten().copied().collect();
        let mut own = std::mem::replace(
            node,
            Node {
                pos: Pos::default(),
                value: Value::Mapping(Vec::new()),
            },
        );
        let place = own.get("include").map_or(own.pos, |node| node.pos);
        if let Value::Mapping(entries) = &mut own.value {
            entries.retain(|entry| entry.key != "include");
        }
        if children.is_empty() {
            let node = Rc::new(own);
            done.insert(file, node.clone());
            return Ok(node);
        }
        stack.push(file);
        let mut whole = Node {
            pos: own.pos,
            value: Value::Mapping(Vec::new()),
        };
        for child in children {
            let node = self.merged(child, place, stack, done)?;
            merge(&mut whole, &node, &mut self.budget, place, 0)?;
        }
        stack.pop();
        merge(&mut whole, &own, &mut self.budget, own.pos, 0)?;
        let node = Rc::new(whole);
        done.insert(file, node.clone());
        Ok(node)
    }
}
