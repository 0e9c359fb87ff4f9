//! git over SSH, as stock git and ssh see it.

use crate::fixture::{Server, commit, git, git_ok, git_refused, until, write};
use async_trait::async_trait;
use bascule_core::{
    Actor, ActorKind, Caller, InstanceRole, Problem, ProjectScope, Result, Role, UserId, Visibility,
};
use bascule_forge::{Forge, ports::Keys, ssh::Address};
use bascule_ledger::facts::forge::{BranchUpdated, PushRefused};
use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    process::{Output, Stdio},
    sync::{Arc, Mutex},
};
use tokio::{io::AsyncReadExt as _, net::TcpListener};
use tokio_util::sync::CancellationToken;

/// Keys by fingerprint, each with a role's name.
struct ByRole {
    forge: Forge,
    roles: Mutex<HashMap<String, String>>,
}

#[async_trait]
impl Keys for ByRole {
    async fn holder(&self, fingerprint: &str) -> Result<Caller> {
        let name = self.roles.lock().unwrap().get(fingerprint).cloned();
        let name = name.ok_or_else(|| Problem::new(401, "unknown_key", "This key belongs to no account."))?;
        let user = UserId::new();
        Ok(Caller {
            actor: Actor::new(ActorKind::User, user, name),
            user: Some(user),
            instance_role: InstanceRole::Member,
            ..Caller::anonymous()
        })
    }

    async fn alive(&self, fingerprints: &[String]) -> Result<HashSet<String>> {
        let roles = self.roles.lock().unwrap();
        Ok(fingerprints
            .iter()
            .filter(|one| roles.contains_key(*one))
            .cloned()
            .collect())
    }

    async fn project(&self, caller: &Caller, group: &str, name: &str) -> Result<Option<ProjectScope>> {
        // As when a role is taken away while a connection is open.
        let held = self
            .roles
            .lock()
            .unwrap()
            .values()
            .any(|role| *role == caller.actor.name);
        let Some(role) = caller.actor.name.parse::<Role>().ok().filter(|_| held) else {
            return Ok(None);
        };
        let found = match self.forge.find(group, name).await? {
            Some(project) => Some(project),
            None => self.forge.find_moved(group, name).await?,
        };
        Ok(found.map(|project| ProjectScope {
            id: project.id,
            group_id: project.group_id,
            group: project.group.clone(),
            name: project.name.clone(),
            role,
            scopes: None,
        }))
    }
}

pub struct Ssh {
    pub server: Server,
    pub port: u16,
    keys: Arc<ByRole>,
    stop: CancellationToken,
}

impl Drop for Ssh {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Ssh {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(adjust: impl FnOnce(&mut bascule_forge::Config)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Server::start_with(|config| {
            config.ssh = Some(Address {
                host: "127.0.0.1".to_owned(),
                port,
            });
            adjust(config);
        })
        .await;
        let keys = Arc::new(ByRole {
            forge: server.forge.clone(),
            roles: Mutex::default(),
        });
        let stop = CancellationToken::new();
        let serving = (server.forge.clone(), keys.clone(), stop.clone());
        tokio::spawn(async move { serving.0.serve_ssh(listener, serving.1, serving.2).await });
        let ssh = Self {
            server,
            port,
            keys,
            stop,
        };
        for role in ["reporter", "developer", "maintainer"] {
            ssh.add_key(role, role, &["-t", "ed25519"]);
        }
        ssh
    }

    /// Makes a key in the file `name` and gives it to a role.
    pub fn add_key(&self, name: &str, role: &str, kind: &[&str]) {
        let file = self.server.path(&format!("key-{name}"));
        let made = std::process::Command::new("ssh-keygen")
            .args(["-q", "-N", "", "-f"])
            .arg(&file)
            .args(kind)
            .status()
            .unwrap();
        assert!(made.success());
        self.keys
            .roles
            .lock()
            .unwrap()
            .insert(self.fingerprint(name), role.to_owned());
    }

    fn fingerprint(&self, name: &str) -> String {
        let told = std::process::Command::new("ssh-keygen")
            .arg("-lf")
            .arg(self.server.path(&format!("key-{name}.pub")))
            .output()
            .unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        told.split(' ').nth(1).unwrap().to_owned()
    }

    fn forget(&self, name: &str) {
        let fingerprint = self.fingerprint(name);
        self.keys.roles.lock().unwrap().remove(&fingerprint);
    }

    fn options(&self, key: &str) -> Vec<String> {
        let path = |name: &str| self.server.path(name).display().to_string();
        vec![
            "-F".into(),
            "none".into(),
            "-i".into(),
            path(&format!("key-{key}")),
            "-o".into(),
            "IdentitiesOnly=yes".into(),
            "-o".into(),
            "BatchMode=yes".into(),
            "-o".into(),
            "StrictHostKeyChecking=accept-new".into(),
            "-o".into(),
            format!("UserKnownHostsFile={}", path("known_hosts")),
        ]
    }

    /// The setting that makes git use a key.
    pub fn with(&self, key: &str) -> String {
        format!("core.sshCommand=ssh {}", self.options(key).join(" "))
    }

    pub fn address(&self, project: &str) -> String {
        format!("ssh://git@127.0.0.1:{}/acme/{project}.git", self.port)
    }

    /// ssh itself, without git.
    async fn ssh(&self, key: &str, arguments: &[&str]) -> Output {
        self.command(key, arguments).output().await.unwrap()
    }

    fn command(&self, key: &str, arguments: &[&str]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new("ssh");
        command
            .args(self.options(key))
            .arg("-p")
            .arg(self.port.to_string())
            .arg("git@127.0.0.1")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn clone(&self, key: &str, project: &str, into: &str, more: &[&str]) -> PathBuf {
        let (with, address) = (self.with(key), self.address(project));
        let mut arguments = vec!["-c", with.as_str(), "clone", "--quiet"];
        arguments.extend(more);
        arguments.extend([address.as_str(), into]);
        git_ok(self.server.dir.path(), &arguments).await;
        self.server.path(into)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_a_push_and_its_refusal_are_as_over_http() {
    let ssh = Ssh::start().await;
    let (_, seed) = ssh.server.seeded("web").await;
    let work = ssh.clone("developer", "web", "copy", &[]).await;
    assert_eq!(
        git_ok(&work, &["rev-parse", "HEAD"]).await,
        git_ok(&seed, &["rev-parse", "HEAD"]).await
    );
    write(&work, "a", "a\n");
    commit(&work, "Add a").await;
    let with = ssh.with("developer");
    let told = git_refused(&work, &["-c", &with, "push", "origin", "main"]).await;
    assert!(
        told.contains("remote: Refused: `main` is protected; you may not push to it.")
            && told.contains("why:")
            && told.contains("next:"),
        "{told}"
    );
    assert_eq!(ssh.server.facts::<PushRefused>().await.len(), 1);
    git_ok(&work, &["-c", &with, "push", "--quiet", "origin", "HEAD:topic"]).await;
    // The fact is there before the client hears of success.
    let (entry, fact) = ssh.server.facts::<BranchUpdated>().await.pop().unwrap();
    assert_eq!((fact.branch.as_str(), fact.commit_count), ("topic", 1));
    assert_eq!(entry.actor.name, "developer");
    // Nothing new.
    git_ok(&work, &["-c", &with, "push", "--quiet", "origin", "HEAD:topic"]).await;
    let with = ssh.with("reporter");
    let told = git_refused(&work, &["-c", &with, "push", "origin", "HEAD:other"]).await;
    assert!(
        told.contains("Refused: You may not push to this project.") && told.contains("next:"),
        "{told}"
    );
    // A later fetch negotiates.
    for n in 0..40 {
        commit(&seed, &format!("More {n}")).await;
    }
    git_ok(&seed, &["push", "--quiet", "origin", "main"]).await;
    git_ok(&work, &["-c", &with, "fetch", "--quiet"]).await;
    assert_eq!(
        git_ok(&work, &["rev-parse", "origin/main"]).await,
        git_ok(&seed, &["rev-parse", "HEAD"]).await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_clone_and_key_is_served() {
    let ssh = Ssh::start().await;
    let (_, seed) = ssh.server.seeded("web").await;
    for n in 0..4 {
        write(&seed, "a", &format!("{n}\n"));
        commit(&seed, &format!("Change {n}")).await;
    }
    git_ok(&seed, &["push", "--quiet", "origin", "main"]).await;
    let head = git_ok(&seed, &["rev-parse", "HEAD"]).await;
    ssh.add_key("ecdsa", "reporter", &["-t", "ecdsa", "-b", "384"]);
    ssh.add_key("rsa", "reporter", &["-t", "rsa", "-b", "3072"]);
    for (name, key, more) in [
        ("v0", "reporter", &["-c", "protocol.version=0"][..]),
        ("v1", "reporter", &["-c", "protocol.version=1"]),
        ("v2", "ecdsa", &["-c", "protocol.version=2"]),
        ("shallow", "rsa", &["--depth=1"]),
        ("partial", "reporter", &["--filter=blob:none", "--no-checkout"]),
    ] {
        let copy = ssh.clone(key, "web", name, more).await;
        assert_eq!(git_ok(&copy, &["rev-parse", "HEAD"]).await, head, "{name}");
    }
    // What a partial clone left out comes when it is needed.
    let (partial, with) = (ssh.server.path("partial"), ssh.with("reporter"));
    git_ok(&partial, &["-c", &with, "checkout", "--quiet", "main"]).await;
    assert_eq!(std::fs::read_to_string(partial.join("a")).unwrap(), "3\n");
    let shallow = ssh.server.path("shallow");
    assert_eq!(git_ok(&shallow, &["rev-list", "--count", "HEAD"]).await, "1");
    git_ok(&shallow, &["-c", &with, "fetch", "--quiet", "--unshallow"]).await;
    assert_eq!(git_ok(&shallow, &["rev-list", "--count", "HEAD"]).await, "5");
    // Version 2 is what the server speaks when it is asked to.
    let trace = git(
        ssh.server.dir.path(),
        &[
            "-c",
            &with,
            "-c",
            "protocol.version=2",
            "ls-remote",
            &ssh.address("web"),
        ],
    )
    .await;
    assert!(text(&trace.stdout).contains(&format!("{head}\trefs/heads/main")));
    let archive = git(
        ssh.server.dir.path(),
        &[
            "-c",
            &with,
            "archive",
            &format!("--remote={}", ssh.address("web")),
            "main",
            "README.md",
        ],
    )
    .await;
    assert!(archive.status.success(), "{}", text(&archive.stderr));
    assert!(text(&archive.stdout).contains("# Hello"));
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_git_and_nothing_else() {
    let ssh = Ssh::start().await;
    ssh.server.seeded("web").await;
    let hello = ssh.ssh("developer", &["-T"]).await;
    assert!(
        hello.status.success() && text(&hello.stdout).contains("Hello developer! Your key works."),
        "{hello:?}"
    );
    for command in [
        "ls -la",
        "git-upload-pack '/../../etc'",
        "git-shell",
        "scp -t /tmp",
    ] {
        let told = ssh.ssh("developer", &[command]).await;
        assert!(!told.status.success(), "{command}");
        assert!(told.stdout.is_empty(), "{command}");
        assert!(text(&told.stderr).contains("next:"), "{command}: {told:?}");
    }
    // A project that is not there and one that may not be seen look alike.
    let told = ssh.ssh("developer", &["git-upload-pack '/acme/none.git'"]).await;
    assert!(text(&told.stderr).contains("There is no such project, or you may not see it."));
    // No forwarding, no subsystem.
    let told = ssh.ssh("developer", &["-W", "127.0.0.1:1"]).await;
    assert!(!told.status.success());
    let told = ssh.ssh("developer", &["-s", "sftp"]).await;
    assert!(!told.status.success());
    let told = ssh
        .ssh(
            "developer",
            &["-N", "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1"],
        )
        .await;
    assert!(!told.status.success());
    // A key that nobody has, and RSA signatures by SHA-1.
    ssh.add_key("stranger", "developer", &["-t", "ed25519"]);
    ssh.forget("stranger");
    let told = ssh.ssh("stranger", &["-T"]).await;
    assert!(
        text(&told.stderr).contains("Permission denied (publickey)"),
        "{told:?}"
    );
    assert!(
        ssh.server
            .page("developer", "/acme/web")
            .await
            .contains(&ssh.address("web"))
    );
    // The page shows the fingerprint that ssh shows.
    let page = ssh.server.page("developer", "/settings/ssh").await;
    let known = std::process::Command::new("ssh-keygen")
        .arg("-lf")
        .arg(ssh.server.path("known_hosts"))
        .output()
        .unwrap();
    let fingerprint = text(&known.stdout).split(' ').nth(1).unwrap().to_owned();
    assert!(page.contains(&fingerprint), "{fingerprint} not in {page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_removed_ends_what_it_has_open_within_a_second() {
    let ssh = Ssh::start().await;
    ssh.server.seeded("web").await;
    // A fetch that waits for the client, and a connection with nothing on it.
    let mut fetch = ssh
        .command("developer", &["git-upload-pack '/acme/web.git'"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    // Held, because waiting for a child closes what it reads from.
    let _open = fetch.stdin.take().unwrap();
    let mut greeting = [0_u8; 4];
    let mut out = fetch.stdout.take().unwrap();
    out.read_exact(&mut greeting).await.unwrap();
    let mut idle = ssh.command("developer", &["-N"]).spawn().unwrap();
    let other = ssh
        .command("reporter", &["git-upload-pack '/acme/web.git'"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert!(idle.try_wait().unwrap().is_none());
    let begun = std::time::Instant::now();
    ssh.forget("developer");
    let ended = fetch.wait().await.unwrap();
    idle.wait().await.unwrap();
    let took = begun.elapsed();
    assert!(!ended.success());
    assert!(took < std::time::Duration::from_millis(1_500), "took {took:?}");
    let mut told = String::new();
    fetch
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut told)
        .await
        .unwrap();
    assert!(told.contains("Your access has ended."), "{told}");
    // Another person's is untouched.
    let mut other = other;
    assert!(other.try_wait().unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_is_cut_off_leaves_nothing_behind() {
    let ssh = Ssh::start().await;
    let (project, work) = ssh.server.seeded("web").await;
    let repository = ssh.server.repository(&project);
    let head = git_ok(&work, &["rev-parse", "HEAD"]).await;
    let mut push = ssh
        .command("developer", &["git-receive-pack '/acme/web.git'"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let line = format!(
        "{} {head} refs/heads/half\0 report-status side-band-64k",
        "0".repeat(40)
    );
    let begin = format!("{:04x}{line}0000", line.len() + 4);
    let mut stdin = push.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stdin, begin.as_bytes())
        .await
        .unwrap();
    // A pack that promises much and holds nothing.
    tokio::io::AsyncWriteExt::write_all(&mut stdin, b"PACK\0\0\0\x02\0\0\x03\xe8")
        .await
        .unwrap();
    let objects = repository.join("objects");
    let quarantined = || {
        std::fs::read_dir(&objects).unwrap().flatten().any(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.starts_with("tmp_objdir-") || name.starts_with("incoming-")
        })
    };
    until("a quarantine", quarantined).await;
    push.kill().await.unwrap();
    until("the quarantine swept", || !quarantined()).await;
    assert_eq!(
        git_ok(&repository, &["for-each-ref", "--format=%(refname)"]).await,
        "refs/heads/main"
    );
    assert_eq!(
        ssh.server.db_count("SELECT COUNT(*) AS n FROM push_intent").await,
        0
    );
    // And the next push goes through, large and at once.
    let mut bytes = Vec::new();
    let mut state = 7_u64;
    while bytes.len() < 24 << 20 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    std::fs::write(work.join("big.bin"), &bytes).unwrap();
    commit(&work, "Add a large file").await;
    let (with, address) = (ssh.with("developer"), ssh.address("web"));
    git_ok(
        &work,
        &["-c", &with, "push", "--quiet", &address, "HEAD:refs/heads/big"],
    )
    .await;
    let copy = ssh.clone("reporter", "web", "copy", &["--branch=big"]).await;
    assert!(std::fs::read(copy.join("big.bin")).unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn options_of_a_push_reach_the_judge_over_both_ways() {
    let ssh = Ssh::start().await;
    let (_, work) = ssh.server.seeded("web").await;
    let (with, address) = (ssh.with("developer"), ssh.address("web"));
    git_ok(
        &work,
        &[
            "-c",
            &with,
            "push",
            "--quiet",
            "-o",
            "ci.skip",
            &address,
            "HEAD:refs/heads/quiet",
        ],
    )
    .await;
    assert!(ssh.server.facts::<BranchUpdated>().await.pop().unwrap().1.ci_skip);
    let http = ssh.server.address("developer", "web");
    git_ok(
        &work,
        &[
            "push",
            "--quiet",
            "-o",
            "ci.skip",
            "-o",
            "x=y z",
            &http,
            "HEAD:refs/heads/quiet-2",
        ],
    )
    .await;
    assert!(ssh.server.facts::<BranchUpdated>().await.pop().unwrap().1.ci_skip);
    git_ok(&work, &["push", "--quiet", &http, "HEAD:refs/heads/loud"]).await;
    assert!(!ssh.server.facts::<BranchUpdated>().await.pop().unwrap().1.ci_skip);
    let many: Vec<String> = (0..60).map(|n| format!("-oa.{n}")).collect();
    let mut arguments = vec!["push"];
    arguments.extend(many.iter().map(String::as_str));
    arguments.extend([http.as_str(), "HEAD:refs/heads/many"]);
    let told = git_refused(&work, &arguments).await;
    assert!(told.contains("too many options"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_atomic_push_is_all_or_nothing_over_both_ways() {
    let ssh = Ssh::start().await;
    let (project, work) = ssh.server.seeded("web").await;
    commit(&work, "More").await;
    let with = ssh.with("developer");
    for address in [ssh.address("web"), ssh.server.address("developer", "web")] {
        // `main` is refused by the judge, so the other does not move either.
        let refs = ["HEAD:refs/heads/side", "HEAD:refs/heads/main"];
        let arguments = ["-c", &with, "push", "--atomic", &address, refs[0], refs[1]];
        let told = git_refused(&work, &arguments).await;
        assert!(told.contains("protected"), "{told}");
    }
    let refs = git_ok(
        &ssh.server.repository(&project),
        &["for-each-ref", "--format=%(refname)"],
    )
    .await;
    assert_eq!(refs, "refs/heads/main");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_project_is_found_by_its_old_path_until_that_is_taken_anew() {
    let ssh = Ssh::start().await;
    let (project, work) = ssh.server.seeded("web").await;
    let head = git_ok(&work, &["rev-parse", "HEAD"]).await;
    let change = bascule_wire::forge::ProjectChange {
        name: Some("site".to_owned()),
        ..Default::default()
    };
    let caller = bascule_core::Caller {
        actor: Actor::new(ActorKind::User, "u", "maintainer"),
        ..bascule_core::Caller::anonymous()
    };
    ssh.server
        .forge
        .change(&caller, project.id, &change)
        .await
        .unwrap();
    let (with, old) = (ssh.with("developer"), ssh.address("web"));
    let told = git(&work, &["-c", &with, "ls-remote", &old]).await;
    assert!(told.status.success());
    assert!(text(&told.stdout).contains(&head));
    let hint = text(&told.stderr);
    assert!(
        hint.contains("The project acme/web is now acme/site.")
            && hint.contains("git remote set-url origin ssh://"),
        "{hint}"
    );
    git_ok(
        &work,
        &[
            "-c",
            &with,
            "push",
            "--quiet",
            &old,
            "HEAD:refs/heads/by-old-name",
        ],
    )
    .await;
    assert_eq!(
        ssh.server.facts::<BranchUpdated>().await.pop().unwrap().1.branch,
        "by-old-name"
    );

    // Taken anew: the old path means the new project.
    let gate = bascule_core::GroupScope {
        id: project.group_id,
        name: "acme".to_owned(),
        role: Role::Owner,
    };
    let new = bascule_wire::forge::NewProject {
        name: "web".to_owned(),
        description: String::new(),
        visibility: Some(Visibility::Private),
        default_branch: None,
    };
    ssh.server.forge.create(&caller.actor, &gate, &new).await.unwrap();
    let told = git(&work, &["-c", &with, "ls-remote", &old]).await;
    assert!(told.status.success() && told.stdout.is_empty(), "{told:?}");
}
