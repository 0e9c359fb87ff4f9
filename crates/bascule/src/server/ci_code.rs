//! Code as CI asks for it: the forge's, other projects' where the person may read them, and files from
//! addresses that the instance's settings name.

use super::ports::Code;
use async_trait::async_trait;
use bascule_ci::ports::{Code as CiCodePort, Commit, CommitStamp, Fetched, ProjectInfo, PushOptions};
use bascule_core::{Actor, ActorKind, Caller, Permission, Problem, ProjectId, Result, any_covers, limits};
use bascule_forge::Forge;
use bascule_identity::Identity;
use futures::StreamExt as _;
use std::time::Duration;
use url::Url;

/// How long an address may take for everything.
const WITHIN: Duration = Duration::from_secs(10);

/// How long the last commit of one file is looked for.
const LAST_COMMIT: Duration = Duration::from_secs(2);

/// Most branches that a form offers.
const OFFERED: usize = 100;

/// Code, for CI.
#[derive(Clone)]
pub struct CiCode {
    forge: Forge,
    identity: Identity,
    addresses: Addresses,
}

impl CiCode {
    /// # Errors
    /// An entry of `ci_remote_includes` is no address.
    pub fn new(code: &Code, identity: Identity, allowed: &[String]) -> Result<Self> {
        Ok(Self {
            forge: code.0.clone(),
            identity,
            addresses: Addresses::parse(allowed)?,
        })
    }

    /// The account behind an actor, as someone who asks. Only people have accounts: a job's or an agent's
    /// rights end at its own project, and so do a project token's.
    async fn caller(&self, actor: &Actor) -> Result<Option<Caller>> {
        let account = match (actor.kind, actor.id.parse()) {
            (ActorKind::User, Ok(user)) => self.identity.open_user_by_id(user).await?,
            // A personal token bears its owner's name, a project's token one that no account can have.
            (ActorKind::Token, _) => self.identity.open_user(&actor.name).await?,
            _ => None,
        };
        Ok(account.map(|account| Caller {
            actor: actor.clone(),
            user: Some(account.id),
            instance_role: account.instance_role,
            ..Caller::anonymous()
        }))
    }
}

#[async_trait]
impl CiCodePort for CiCode {
    async fn read_file(&self, project: ProjectId, sha: &str, path: &str) -> Result<Option<Vec<u8>>> {
        let limit = limits::CI_FILE_BYTES as u64;
        self.forge.read_file_up_to(project, sha, path, limit).await
    }

    async fn list_paths(&self, project: ProjectId, sha: &str) -> Result<Vec<String>> {
        self.forge.list_paths(project, sha).await
    }

    async fn changed_paths(
        &self,
        project: ProjectId,
        before: Option<&str>,
        after: &str,
    ) -> Result<Vec<String>> {
        self.forge.changed_paths(project, before, after).await
    }

    async fn resolve(&self, project: ProjectId, reference: &str) -> Result<Option<Commit>> {
        let found = self.forge.resolve(project, reference).await?;
        Ok(found.map(|found| Commit {
            sha: found.sha,
            reference: reference.to_owned(),
            tag: found.is_tag,
        }))
    }

    async fn tag_message(&self, project: ProjectId, tag: &str) -> Result<Option<String>> {
        self.forge.tag_message(project, tag).await
    }

    async fn commit_message(&self, project: ProjectId, sha: &str) -> Result<Option<String>> {
        self.forge.commit_message(project, sha).await
    }

    async fn commit_stamp(&self, project: ProjectId, sha: &str) -> Result<Option<CommitStamp>> {
        let found = self.forge.commit_author(project, sha).await?;
        Ok(found.map(|(author, at)| CommitStamp {
            author,
            time: at.to_string(),
        }))
    }

    async fn project(&self, project: ProjectId) -> Result<Option<ProjectInfo>> {
        let found = self.forge.project_by_id(project).await?;
        Ok(found.map(|found| ProjectInfo {
            clone_url: self.forge.clone_url(&found),
            ssh_url: self.forge.ssh_url(&found).unwrap_or_default(),
            group_id: found.group_id.to_string(),
            visibility: found.visibility.as_str().to_owned(),
            description: found.description,
            group: found.group,
            name: found.name,
            default_branch: found.default_branch,
        }))
    }

    async fn is_protected(&self, project: ProjectId, reference: &str, tag: bool) -> Result<bool> {
        self.forge.is_protected(project, reference, tag).await
    }

    async fn developers_merge(&self, project: ProjectId) -> Result<bool> {
        Ok(self.forge.merge_settings(project).await?.developers_merge)
    }

    async fn branches(&self, project: ProjectId, protected: bool) -> Result<Vec<String>> {
        let mut names = self.forge.branch_names(project).await?;
        if !protected {
            let patterns = self.forge.protected_branches(project).await?;
            names.retain(|name| !any_covers(&patterns, name));
        }
        if let Some(found) = self.forge.project_by_id(project).await? {
            names.sort_by_key(|name| *name != found.default_branch);
        }
        names.truncate(OFFERED);
        Ok(names)
    }

    async fn readable(&self, actor: &Actor, path: &str) -> Result<Option<ProjectId>> {
        let (Some(caller), Some((group, name))) = (self.caller(actor).await?, path.split_once('/')) else {
            return Ok(None);
        };
        let found = match self.forge.find(group, name).await? {
            Some(found) => Some(found),
            None => self.forge.find_moved(group, name).await?,
        };
        let Some(project) = found else {
            return Ok(None);
        };
        let role = self
            .identity
            .role_in_project(&caller, project.id, project.group_id, project.visibility)
            .await?;
        Ok(role
            .is_some_and(|role| project.scope(&caller, role).holds(Permission::CodeRead))
            .then_some(project.id))
    }

    async fn version(&self, project: ProjectId, text: &str) -> Result<Option<String>> {
        if let Some(found) = self.forge.resolve(project, text).await? {
            return Ok(Some(found.sha));
        }
        if !is_range(text) {
            return Ok(None);
        }
        let tags = self.forge.tag_names(project).await?;
        match newest(text, &tags) {
            Some(tag) => Ok(self.forge.resolve(project, tag).await?.map(|found| found.sha)),
            None => Ok(None),
        }
    }

    async fn release(&self, project: ProjectId, text: &str) -> Result<Option<String>> {
        // A branch or a commit of such a name comes first, as in `version`.
        let range = match self.forge.resolve(project, text).await? {
            Some(found) if !found.is_tag => return Ok(None),
            Some(_) => None,
            None => Some(self.forge.tag_names(project).await?),
        };
        let tag = match &range {
            Some(tags) if is_range(text) => newest(text, tags),
            Some(_) => None,
            None => Some(text),
        };
        Ok(tag
            .map(|tag| tag.strip_prefix('v').unwrap_or(tag))
            .filter(|tag| semver::Version::parse(tag).is_ok())
            .map(str::to_owned))
    }

    async fn last_commits(
        &self,
        project: ProjectId,
        sha: &str,
        paths: &[String],
    ) -> Result<Vec<Option<String>>> {
        let mut commits = Vec::with_capacity(paths.len());
        for path in paths {
            commits.push(self.forge.last_commit(project, sha, path, LAST_COMMIT).await?);
        }
        Ok(commits)
    }

    async fn changed_since(&self, project: ProjectId, other: &str, sha: &str) -> Result<Vec<String>> {
        self.forge.changed_since(project, other, sha).await
    }

    async fn digests(&self, project: ProjectId, sha: &str, paths: &[String]) -> Result<Vec<Option<String>>> {
        let limit = limits::LOCKFILE_BYTES as u64;
        let mut digests = Vec::with_capacity(paths.len());
        for path in paths {
            let bytes = match self.forge.read_file_up_to(project, sha, path, limit).await {
                // Too large to be a lockfile: as if it were not there.
                Err(problem) if !problem.is_server_fault() => None,
                bytes => bytes?,
            };
            digests.push(bytes.map(|bytes| bascule_core::Digest::of(&bytes).to_string()));
        }
        Ok(digests)
    }

    async fn push_options(&self, project: ProjectId, name: &str) -> Result<PushOptions> {
        let found = self.forge.ci_options(project, name).await?;
        Ok(PushOptions {
            variables: found.variables,
            inputs: found.inputs,
            may_protected: found.may_protected,
        })
    }

    async fn fetch(&self, url: &str) -> Result<Fetched> {
        let Some(url) = self.addresses.permit(url) else {
            return Ok(Fetched::NotAllowed);
        };
        Ok(fetch(url).await.map_or_else(Fetched::Failed, Fetched::Text))
    }
}

async fn fetch(url: Url) -> std::result::Result<String, String> {
    // An error says that it is named already.
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = reqwest::Client::builder()
        // A redirect could lead to where the settings do not allow.
        .redirect(reqwest::redirect::Policy::none())
        .timeout(WITHIN)
        .user_agent(concat!("Bascule/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| error.to_string())?;
    let answer = client
        .get(url)
        .send()
        .await
        .map_err(|error| error.without_url().to_string())?;
    if !answer.status().is_success() {
        return Err(format!("it answers {}", answer.status()));
    }
    let mut bytes = Vec::new();
    let mut stream = answer.bytes_stream();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece.map_err(|error| error.without_url().to_string())?);
        if bytes.len() > limits::CI_FILE_BYTES {
            return Err(format!("it is larger than {} bytes", limits::CI_FILE_BYTES));
        }
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
}

/// Addresses under which remote files may lie.
#[derive(Clone, Debug, Default)]
struct Addresses(Vec<Url>);

impl Addresses {
    fn parse(entries: &[String]) -> Result<Self> {
        entries
            .iter()
            .map(|entry| {
                Url::parse(entry)
                    .ok()
                    .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
                    .ok_or_else(|| {
                        Problem::new(400, "usage", format!("`ci_remote_includes` has `{entry}`."))
                            .next("Write addresses such as https://files.example.org/ci/.")
                    })
            })
            .collect::<Result<_>>()
            .map(Self)
    }

    /// The address, if it lies under one that is allowed.
    fn permit(&self, text: &str) -> Option<Url> {
        let url = Url::parse(text).ok()?;
        if !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        let under = |allowed: &Url| {
            let folder = allowed.path().trim_end_matches('/');
            allowed.scheme() == url.scheme()
                && allowed.host_str() == url.host_str()
                && allowed.port_or_known_default() == url.port_or_known_default()
                && url
                    .path()
                    .strip_prefix(folder)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.0.iter().any(under).then_some(url)
    }
}

/// A version's three numbers; tags with a suffix such as `-rc.1` are no releases.
fn numbers(tag: &str) -> Option<[u64; 3]> {
    let version = semver::Version::parse(tag.strip_prefix('v').unwrap_or(tag)).ok()?;
    version
        .pre
        .is_empty()
        .then_some([version.major, version.minor, version.patch])
}

fn is_range(text: &str) -> bool {
    text == "~latest"
        || text
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

/// The newest tag that `~latest`, `1` or `1.2` means.
fn newest<'t>(range: &str, tags: &'t [String]) -> Option<&'t str> {
    let wanted: Vec<u64> = if range == "~latest" {
        Vec::new()
    } else {
        range
            .split('.')
            .map(|part| part.parse().ok())
            .collect::<Option<_>>()?
    };
    tags.iter()
        .filter_map(|tag| Some((numbers(tag)?, tag.as_str())))
        .filter(|(version, _)| version.starts_with(&wanted))
        .max_by_key(|(version, _)| *version)
        .map(|(_, tag)| tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_under_an_allowed_address_is_fetched() {
        let allowed = Addresses::parse(&["https://files.example.org/ci/".to_owned()]).unwrap();
        for (url, good) in [
            ("https://files.example.org/ci/a.yml", true),
            ("https://files.example.org:443/ci/b/a.yml", true),
            ("https://files.example.org/cinema.yml", false),
            ("https://files.example.org/ci/../secret.yml", false),
            ("http://files.example.org/ci/a.yml", false),
            ("https://files.example.org.evil.example/ci/a.yml", false),
            ("https://files.example.org@evil.example/ci/a.yml", false),
            ("https://files.example.org:8443/ci/a.yml", false),
            ("file:///etc/passwd", false),
        ] {
            assert_eq!(allowed.permit(url).is_some(), good, "{url}");
        }
        assert!(
            Addresses::default()
                .permit("https://files.example.org/ci/a.yml")
                .is_none()
        );
        assert!(Addresses::parse(&["files.example.org".to_owned()]).is_err());
    }

    #[test]
    fn versions_mean_the_newest_release_that_begins_so() {
        let tags: Vec<String> = ["1.0.0", "1.2.9", "v1.2.10", "2.0.0", "2.1.0-rc.1", "nightly"]
            .map(str::to_owned)
            .into();
        for (range, tag) in [
            ("~latest", Some("2.0.0")),
            ("1", Some("v1.2.10")),
            ("1.2", Some("v1.2.10")),
            ("1.0", Some("1.0.0")),
            ("3", None),
        ] {
            assert_eq!(newest(range, &tags), tag, "{range}");
        }
        assert!(!is_range("main") && !is_range("1.x") && is_range("1.2"));
    }
}
