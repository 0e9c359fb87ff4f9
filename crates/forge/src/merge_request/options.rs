//! Push options: `git push -o merge_request.create` opens a request with the push, by GitLab's names.

use super::MergeRequest;
use crate::Forge;
use bascule_core::{Caller, ProjectScope};
use bascule_wire::merge_request::{MergeOrder, NewMergeRequest};

/// What a push asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    target: Option<String>,
    title: String,
    description: String,
    draft: bool,
    delete_source: Option<bool>,
    when_checks_pass: bool,
}

impl Wanted {
    /// Reads a push's options; `None` where no request is asked for.
    pub(crate) fn parse(options: &[String]) -> Option<Self> {
        let mut wanted = Self::default();
        let mut create = false;
        for option in options {
            let Some(option) = option.strip_prefix("merge_request.") else {
                continue;
            };
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            match name {
                "create" => create = true,
                "target" => wanted.target = Some(value.to_owned()),
                "title" => value.clone_into(&mut wanted.title),
                // One line on the command line: `\n` stands for the end of one.
                "description" => wanted.description = value.replace("\\n", "\n"),
                "draft" => wanted.draft = true,
                "remove_source_branch" => wanted.delete_source = Some(true),
                "merge_when_pipeline_succeeds" | "auto_merge" => wanted.when_checks_pass = true,
                _ => {}
            }
        }
        create.then_some(wanted)
    }
}

impl Forge {
    /// Opens what a push asked for; the lines that its person reads.
    pub(crate) async fn open_by_push(
        &self,
        caller: &Caller,
        scope: &ProjectScope,
        branches: &[String],
        wanted: &Wanted,
    ) -> String {
        let mut text = String::new();
        for branch in branches.iter().take(10) {
            let new = NewMergeRequest {
                source_branch: branch.clone(),
                target_branch: wanted.target.clone(),
                title: wanted.title.clone(),
                description: wanted.description.clone(),
                draft: wanted.draft,
                delete_source_branch: wanted.delete_source,
                ..NewMergeRequest::default()
            };
            match Box::pin(self.open_request(caller, scope, &new)).await {
                Ok(request) => {
                    text.push_str(&format!(
                        "\nMerge request !{}: {}\n",
                        request.iid,
                        self.page_of(scope, &request)
                    ));
                    if wanted.when_checks_pass {
                        let order = MergeOrder {
                            when_checks_pass: true,
                            ..MergeOrder::default()
                        };
                        if let Err(problem) = Box::pin(self.merge(caller, scope, request.iid, &order)).await {
                            text.push_str(&format!("It is not merged by itself: {problem}\n"));
                        }
                    }
                }
                // The push stands; what it asked for beside did not work, or is there already.
                Err(problem) => text.push_str(&format!("\nNo merge request for {branch}: {problem}\n")),
            }
        }
        text
    }

    fn page_of(&self, scope: &ProjectScope, request: &MergeRequest) -> String {
        format!(
            "{}/{}/-/merge-requests/{}",
            self.config().public_url.trim_end_matches('/'),
            scope.path(),
            request.iid
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn options_are_read_by_gitlabs_names() {
        let read =
            |options: &[&str]| Wanted::parse(&options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>());
        assert_eq!(read(&["ci.skip", "merge_request.title=x"]), None);
        let wanted = read(&[
            "merge_request.create",
            "merge_request.target=release/1",
            "merge_request.title=a=b",
            "merge_request.description=one\\ntwo",
        ])
        .unwrap();
        assert_eq!(
            (
                wanted.target.as_deref(),
                wanted.title.as_str(),
                wanted.description.as_str()
            ),
            (Some("release/1"), "a=b", "one\ntwo")
        );
    }

    proptest! {
        #[test]
        fn any_option_is_read_without_panic(options in proptest::collection::vec(".{0,40}", 0..5)) {
            drop(Wanted::parse(&options));
        }
    }
}
