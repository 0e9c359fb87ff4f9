//! What putting a configuration together asks of the caller, and what the caller says.

use super::{Inputs, assemble::FILES};
use crate::{
    fault::{Fault, Pos, shown},
    variables::Values,
    yaml::{self, Budget, Node},
};

/// What includes are judged and named by.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Variables that are known before the file is read: predefined, the project's, those of who starts.
    pub variables: Values,
    /// The same without what must not be written into a configuration: masked ones and files.
    pub open_variables: Values,
    /// This server's name, with its port if that is not the usual one: components come from here.
    pub host: String,
    /// Branch or tag name.
    pub reference: String,
    /// Whether it is a tag.
    pub tag: bool,
    /// What started the pipeline.
    pub source: String,
    /// Values for the file's own `spec:inputs`.
    pub inputs: Inputs,
    /// Whether these are texts, to be read by the inputs' types.
    pub input_texts: bool,
}

/// A project at a commit, where files lie.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tree {
    /// The project and the commit that the pipeline is for.
    #[default]
    Own,
    /// Another, or another commit.
    Project {
        /// `group/project`.
        project: String,
        /// Branch, tag, commit, or a component's version (`~latest`, `1`, `1.2`); `None` is the default branch.
        reference: Option<String>,
    },
    /// None: the file came from an address, a template or an artifact.
    Nowhere,
}

/// What an [`Assembly`] needs to know next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// The first of these files that exists.
    File {
        /// Where.
        tree: Tree,
        /// Paths to try in order.
        paths: Vec<String>,
    },
    /// All files there are.
    Paths(Tree),
    /// What a component's version means there.
    Version(Tree),
    /// The files that differ from a branch, tag or commit, or from what the push replaced.
    Changes(Option<String>),
    /// The text at an address.
    Remote(String),
    /// A file that a job of the parent pipeline left.
    Artifact {
        /// The job.
        job: String,
        /// The file's path in its archive.
        file: String,
    },
}

/// What is said to a [`Wanted`].
#[derive(Clone, Debug)]
pub enum Answer {
    /// The text.
    Text(String),
    /// Paths; of changes `None` means that there is nothing to compare with.
    Paths(Option<Vec<String>>),
    /// The commit, and the release's name without a leading `v` where it is one.
    Version {
        /// The commit.
        sha: String,
        /// `1.2.3`.
        version: Option<String>,
    },
    /// There is no such thing, or it may not be seen. Why, and the next step.
    No(String, String),
}

impl Answer {
    /// How many paths it holds.
    #[must_use]
    pub fn paths(&self) -> usize {
        match self {
            Self::Paths(Some(paths)) => paths.len(),
            _ => 0,
        }
    }

    /// The usual refusal of a file that is not there.
    #[must_use]
    pub fn missing(path: &str) -> Self {
        Self::No(
            format!("the included file `{}` does not exist", shown(path)),
            "name a file of this project at this commit".to_owned(),
        )
    }
}

/// The header of a text, if that names what must be known before the text can be read.
pub(super) fn header_of(text: &str) -> Option<Node> {
    let (head, _) = text.split_once("\n---")?;
    if !head.contains("include") && !head.contains("component") {
        return None;
    }
    let document = yaml::read_file(text, 0, &mut Budget::default(), &mut Vec::new()).ok()?;
    let header = document.header?;
    let spec = header.get("spec")?;
    (spec.get("include").is_some() || spec.get("component").is_some()).then_some(header)
}

pub(super) fn too_many(pos: Pos) -> Fault {
    Fault::new(
        pos,
        "too many files are included",
        format!("at most {FILES} are allowed"),
    )
}

pub(super) fn refused(answer: &Answer, pos: Pos) -> Fault {
    match answer {
        Answer::No(what, next) => Fault::new(pos, what.clone(), next.clone()),
        _ => Fault::new(pos, "this include cannot be read", ""),
    }
}
