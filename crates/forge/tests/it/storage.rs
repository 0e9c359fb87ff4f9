//! Limits, quotas, upkeep and damage, as stock git and people see them.

use crate::{
    fixture::{GROUP, Server, commit, git, git_ok, git_refused, work_tree, write},
    ssh::Ssh,
};
use bascule_ledger::facts::forge::{PushRefused, RepositoryChecked};
use bascule_wire::forge::{Storage, UpkeepRun, UpkeepRuns};
use serde_json::{Value, json};
use std::{
    path::Path,
    time::{Duration, Instant},
};

impl Server {
    async fn put(&self, path: &str, body: &Value) -> Value {
        let answer = self
            .http
            .put(format!("{}{path}", self.url))
            .basic_auth("owner", Some("x"))
            .json(body)
            .send()
            .await
            .unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn storage(&self, name: &str) -> Storage {
        let answer = self
            .get("owner", &format!("/api/v1/projects/{GROUP}/{name}/storage"))
            .await;
        answer.json().await.unwrap()
    }

    /// Asks for upkeep or a check, and waits for its end.
    async fn upkeep(&self, name: &str, kind: &str) -> UpkeepRun {
        let base = format!("/api/v1/projects/{GROUP}/{name}/upkeep");
        let verb = if kind == "fsck" { "fsck" } else { "pack" };
        let answer = self
            .http
            .post(format!("{}{base}/{verb}", self.url))
            .basic_auth("owner", Some("x"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 202, "{}", answer.text().await.unwrap());
        for _ in 0..600 {
            let runs: UpkeepRuns = self.get("owner", &base).await.json().await.unwrap();
            let run = runs.runs.into_iter().find(|run| run.kind == kind).unwrap();
            if run.ended_at.is_some() {
                return run;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{kind} of {name} never ended");
    }
}

/// Bytes that do not compress.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    let mut state = seed;
    while bytes.len() < length {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state >> 16).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_with_rule_reason_and_next_step_over_both_ways() {
    let ssh = Ssh::start().await;
    let server = &ssh.server;
    let (project, work) = server.seeded("web").await;
    let limits = format!("/api/v1/projects/{GROUP}/web/storage/limits");
    let told = server.put(&limits, &json!({ "file_bytes": 50_000 })).await;
    assert_eq!(told["file_bytes"], 50_000);
    // Highly compressible: what counts is the file, not what it takes in a pack.
    write(&work, "data/large file.txt", &"a".repeat(60_000));
    commit(&work, "Large").await;
    let with = ssh.with("developer");
    for address in [server.address("developer", "web"), ssh.address("web")] {
        let told = git_refused(&work, &["-c", &with, "push", &address, "HEAD:refs/heads/large"]).await;
        assert!(
            told.contains(
                "Refused: `data/large file.txt` has 58.6 KiB; files of up to 48.8 KiB may be pushed here."
            ) && told.contains("why:")
                && told.contains("next:"),
            "{told}"
        );
    }
    let rules: Vec<String> = server
        .facts::<PushRefused>()
        .await
        .into_iter()
        .map(|(_, f)| f.rule)
        .collect();
    assert_eq!(rules, ["file_too_large", "file_too_large"]);
    // The largest that may be.
    server.put(&limits, &json!({ "file_bytes": 60_000 })).await;
    git_ok(
        &work,
        &[
            "push",
            "--quiet",
            &server.address("developer", "web"),
            "HEAD:refs/heads/large",
        ],
    )
    .await;

    // A whole push: git ends it before all of it is on the disk.
    server.put(&limits, &json!({ "push_bytes": 100_000 })).await;
    std::fs::write(work.join("noise"), noise(400_000, 1)).unwrap();
    commit(&work, "Noise").await;
    for address in [server.address("developer", "web"), ssh.address("web")] {
        let told = git_refused(&work, &["-c", &with, "push", &address, "HEAD:refs/heads/noise"]).await;
        assert!(
            told.contains("Refused: The push is larger than 97.7 KiB") && told.contains("next:"),
            "{told}"
        );
    }
    // The project's quota, then its group's.
    server.put(&limits, &json!({ "quota_bytes": 200_000 })).await;
    let told = git_refused(
        &work,
        &[
            "push",
            &server.address("developer", "web"),
            "HEAD:refs/heads/noise",
        ],
    )
    .await;
    assert!(told.contains("its quota is 195.3 KiB"), "{told}");
    server.put(&limits, &json!({})).await;
    let group = format!("/api/v1/groups/{GROUP}/storage/limits");
    let page = server.get("owner", &format!("/{GROUP}/-/storage")).await;
    assert_eq!(page.status(), 200);
    let told = server.put(&group, &json!({ "quota_bytes": 300_000 })).await;
    assert_eq!(told["quota_bytes"], 300_000);
    let told = git_refused(
        &work,
        &[
            "push",
            &server.address("developer", "web"),
            "HEAD:refs/heads/noise",
        ],
    )
    .await;
    assert!(told.contains("the group's quota is 293 KiB"), "{told}");
    server.put(&group, &json!({})).await;
    let before = server.storage("web").await.bytes;
    git_ok(
        &work,
        &[
            "push",
            "--quiet",
            &server.address("developer", "web"),
            "HEAD:refs/heads/noise",
        ],
    )
    .await;
    let after = server.storage("web").await.bytes;
    assert!((300_000..600_000).contains(&(after - before)), "{before} {after}");
    // Nobody but an administrator gives more.
    let answer = server
        .http
        .put(format!("{}{limits}", server.url))
        .basic_auth("owner", Some("x"))
        .json(&json!({ "file_bytes": i64::MAX }))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 403);
    let refs = git_ok(
        &server.repository(&project),
        &["for-each-ref", "--format=%(refname:short)"],
    )
    .await;
    assert_eq!(refs, "large\nmain\nnoise");
}

#[tokio::test(flavor = "multi_thread")]
async fn upkeep_packs_and_the_check_finds_damage_that_harms_no_other() {
    let server = Server::start().await;
    let (project, work) = server.seeded("web").await;
    server.seeded("other").await;
    for n in 0..30 {
        write(&work, &format!("src/{n}"), &format!("{n}\n").repeat(20));
        commit(&work, &format!("Change {n}")).await;
        git_ok(&work, &["push", "--quiet", "origin", "main"]).await;
    }
    let repository = server.repository(&project);
    let run = server.upkeep("web", "upkeep").await;
    assert_eq!(run.good, Some(true), "{run:?}");
    assert!(
        run.told.contains("before") && run.requested_by == "owner",
        "{run:?}"
    );
    let count = git_ok(&repository, &["count-objects", "-v"]).await;
    assert!(
        count.contains("count: 0") && count.contains("packs: 1"),
        "{count}"
    );
    assert!(repository.join("objects/info/commit-graphs").exists());
    assert!(repository.join("packed-refs").exists());
    let bitmaps = std::fs::read_dir(repository.join("objects/pack"))
        .unwrap()
        .flatten();
    assert!(
        bitmaps
            .into_iter()
            .any(|e| e.path().extension().is_some_and(|e| e == "bitmap"))
    );
    // Everything is as it was, for git and for pages.
    git_ok(
        server.dir.path(),
        &["clone", "--quiet", &server.address("reporter", "web"), "copy"],
    )
    .await;
    assert!(server.page("reporter", "/acme/web").await.contains("README.md"));
    assert_eq!(server.upkeep("web", "fsck").await.good, Some(true));

    // A file of the repository is damaged on disk.
    write(&work, "victim", "victim\n");
    commit(&work, "Victim").await;
    git_ok(&work, &["push", "--quiet", "origin", "main"]).await;
    let blob = git_ok(&work, &["rev-parse", "HEAD:victim"]).await;
    let loose = repository.join("objects").join(&blob[..2]).join(&blob[2..]);
    assert!(loose.exists());
    let mut permissions = std::fs::metadata(&loose).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
    std::fs::set_permissions(&loose, permissions).unwrap();
    std::fs::write(&loose, b"rubbish").unwrap();
    let run = server.upkeep("web", "fsck").await;
    assert_eq!(run.good, Some(false));
    assert!(run.told.contains(&blob), "{run:?}");
    let page = server.page("owner", "/acme/web/-/settings/storage").await;
    assert!(page.contains(&blob) && page.contains("failed"), "{page}");
    let checks: Vec<bool> = server
        .facts::<RepositoryChecked>()
        .await
        .into_iter()
        .map(|(_, f)| f.good)
        .collect();
    assert_eq!(checks, [true, false]);
    let told = git_refused(
        server.dir.path(),
        &["clone", &server.address("reporter", "web"), "broken"],
    )
    .await;
    assert!(told.contains("corrupt") || told.contains(&blob), "{told}");
    let answer = server.get("reporter", "/acme/web/-/blob/main/victim").await;
    assert_eq!(answer.status(), 500);
    let text = answer.text().await.unwrap();
    assert!(
        text.contains("could not be read") && text.contains("fsck"),
        "{text}"
    );
    // What does not touch it still works, here and elsewhere.
    assert!(
        server
            .page("reporter", "/acme/web/-/blob/main/README.md")
            .await
            .contains("Hello")
    );
    git_ok(
        server.dir.path(),
        &["clone", "--quiet", &server.address("reporter", "other"), "fine"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_branches_stay_quick() {
    let server = Server::start().await;
    let (project, work) = server.seeded("many").await;
    let head = git_ok(&work, &["rev-parse", "HEAD"]).await;
    let mut refs = String::new();
    for n in 0..10_000 {
        refs.push_str(&format!("create refs/heads/team-{}/topic-{n} {head}\n", n % 50));
    }
    let file = server.path("refs");
    std::fs::write(&file, refs).unwrap();
    let made = std::process::Command::new("git")
        .arg("--git-dir")
        .arg(server.repository(&project))
        .args(["update-ref", "--stdin"])
        .stdin(std::fs::File::open(&file).unwrap())
        .status()
        .unwrap();
    assert!(made.success());
    assert_eq!(server.upkeep("many", "upkeep").await.good, Some(true));
    let left = walk(&server.repository(&project).join("refs"));
    assert!(left < 64, "{left} references are still in files of their own");
    let begun = Instant::now();
    let address = server.address("reporter", "many");
    let told = git_ok(&work, &["ls-remote", &address, "refs/heads/team-7/*"]).await;
    assert_eq!(told.lines().count(), 200);
    git_ok(&work, &["fetch", "--quiet", &address, "team-7/topic-7"]).await;
    server.page("reporter", "/acme/many").await;
    server.page("reporter", "/acme/many/-/branches").await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(8), "took {took:?}");
    // And one more push is as any other.
    commit(&work, "More").await;
    git_ok(&work, &["push", "--quiet", "origin", "main"]).await;
}

fn walk(folder: &Path) -> usize {
    std::fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => walk(&entry.path()),
            false => 1,
        })
        .sum()
}

/// A commit of raw tree entries, made without git's own checks of names.
async fn raw(work: &Path, entries: &[(&str, &[u8], &str)]) -> String {
    let mut tree = Vec::new();
    for (mode, name, id) in entries {
        tree.extend_from_slice(mode.as_bytes());
        tree.push(b' ');
        tree.extend_from_slice(name);
        tree.push(0);
        let bytes = (0..20).map(|n| u8::from_str_radix(&id[n * 2..n * 2 + 2], 16).unwrap());
        tree.extend(bytes);
    }
    let file = work.join("raw-tree");
    std::fs::write(&file, tree).unwrap();
    let file = file.display().to_string();
    let tree = git_ok(work, &["hash-object", "--literally", "-t", "tree", "-w", &file]).await;
    git_ok(work, &["commit-tree", "-m", "Raw", &tree]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn strange_names_survive_every_page_and_tricks_are_refused() {
    let server = Server::start().await;
    server.project("odd").await;
    let work = server.path("odd-work");
    work_tree(&work, &server.address("maintainer", "odd")).await;
    write(&work, "text", "hello\n");
    let blob = git_ok(&work, &["hash-object", "-w", "text"]).await;
    let names: [&[u8]; 6] = [
        b"a\nnewline",
        b"bell\x07 and \x1b[31mred",
        b"caf\xe9 in latin 1",
        b"quote\"<img src=x onerror=alert(1)>'",
        b"tab\tand  spaces ",
        b"\xf0\x9f\xa6\x80 crab % # ? & + ; \\",
    ];
    let mut entries: Vec<(&str, &[u8], &str)> = names
        .iter()
        .map(|name| ("100644", *name, blob.as_str()))
        .collect();
    entries.sort_by(|a, b| a.1.cmp(b.1));
    let good = raw(&work, &entries).await;
    git_ok(
        &work,
        &["push", "--quiet", "origin", &format!("{good}:refs/heads/main")],
    )
    .await;
    let page = server.page("reporter", "/acme/odd").await;
    assert!(
        !page.contains("<img src=x") && page.contains("newline") && page.contains("crab"),
        "{page}"
    );
    // Each link on the page leads somewhere.
    let links: Vec<String> = {
        let document = scraper::Html::parse_document(&page);
        let selector = scraper::Selector::parse("a[href*='/-/blob/main/']").unwrap();
        let all = document.select(&selector);
        all.map(|link| link.value().attr("href").unwrap().to_owned())
            .collect()
    };
    assert!(links.len() >= names.len(), "{links:?}");
    for link in links {
        let page = server.page("reporter", &link).await;
        assert!(page.contains("hello"), "{link}");
    }
    let commit_page = server
        .page("reporter", &format!("/acme/odd/-/commit/{good}"))
        .await;
    assert!(
        !commit_page.contains("<img src=x") && !commit_page.contains('\u{1b}'),
        "{commit_page}"
    );
    let answer = server.get("reporter", "/api/v1/projects/acme/odd/storage").await;
    assert_eq!(answer.status(), 200);
    let told = git_ok(
        server.dir.path(),
        &[
            "clone",
            "--quiet",
            "--no-checkout",
            &server.address("reporter", "odd"),
            "odd-copy",
        ],
    )
    .await;
    assert!(told.is_empty());

    // What git's own fsck knows to be a trick.
    let hostile = |url: &str| format!("[submodule \"x\"]\n\tpath = x\n\turl = {url}\n");
    write(&work, "modules", &hostile("--upload-pack=touch /tmp/x"));
    let modules = git_ok(&work, &["hash-object", "-w", "modules"]).await;
    let link = git_ok(&work, &["hash-object", "-w", "text"]).await;
    for (entry, word) in [
        (("100644", &b".git"[..], blob.as_str()), "Git"),
        (("100644", &b".GIT"[..], blob.as_str()), "Git"),
        (("100644", &b"git~1"[..], blob.as_str()), "Git"),
        (("100644", &b".."[..], blob.as_str()), "Dotdot"),
        (("100644", &b"a/b"[..], blob.as_str()), "FullPathname"),
        (("100644", &b".gitmodules"[..], modules.as_str()), "gitmodules"),
        (("120000", &b".gitmodules"[..], link.as_str()), "gitmodules"),
    ] {
        let bad = raw(&work, &[entry]).await;
        let told = git(&work, &["push", "origin", &format!("{bad}:refs/heads/trick")]).await;
        let text = String::from_utf8_lossy(&told.stderr).to_lowercase();
        assert!(
            !told.status.success(),
            "{:?} went through",
            String::from_utf8_lossy(entry.1)
        );
        assert!(text.contains(&word.to_lowercase()), "{word}: {text}");
    }
    let refs = git_ok(&work, &["ls-remote", "origin"]).await;
    assert!(!refs.contains("trick"), "{refs}");
}

/// A commit of a few kilobytes that holds ten files to the power of `levels`.
async fn bomb(work: &Path, blob: &str, levels: u32) -> String {
    let (mut kind, mut object) = ("100644 blob", blob.to_owned());
    for _ in 0..levels {
        let entries: String = (0..10).map(|n| format!("{kind} {object}\tentry-{n}\n")).collect();
        write(work, "entries", &entries);
        let made = tokio::process::Command::new("git")
            .arg("mktree")
            .current_dir(work)
            .stdin(std::fs::File::open(work.join("entries")).unwrap())
            .output();
        object = String::from_utf8(made.await.unwrap().stdout)
            .unwrap()
            .trim()
            .to_owned();
        kind = "040000 tree";
    }
    git_ok(work, &["commit-tree", "-m", "Small", &object]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_a_billion_times_over_is_stored_and_neither_compared_nor_packed() {
    let server = Server::start().await;
    let (_, work) = server.seeded("web").await;
    write(&work, "text", "hello\n");
    let blob = git_ok(&work, &["hash-object", "-w", "text"]).await;
    let bomb = self::bomb(&work, &blob, 10).await;
    git_ok(
        &work,
        &["push", "--quiet", "origin", &format!("{bomb}:refs/heads/bomb")],
    )
    .await;
    let page = server
        .page("developer", "/acme/web/-/tree/bomb/entry-0/entry-1")
        .await;
    assert!(page.contains("entry-9"), "{page}");
    for path in [
        format!("/acme/web/-/commit/{bomb}"),
        "/acme/web/-/compare?from=main&to=bomb".to_owned(),
    ] {
        let page = server.page("developer", &path).await;
        assert!(
            page.contains("More than 200000 files and folders differ"),
            "{path}: {page}"
        );
    }
    let compared = server
        .get("developer", "/api/v1/projects/acme/web/compare?from=main&to=bomb")
        .await;
    let compared: serde_json::Value = compared.json().await.unwrap();
    assert!(
        compared["note"].as_str().unwrap().contains("git diff --stat"),
        "{compared}"
    );
    // Nor does a secret hide behind it, where none may be pushed.
    let rule = serde_json::json!({ "levels": { "no_secrets": "refuse" } });
    server.ok("maintainer", "PATCH", "web/workflow", rule).await;
    write(
        &work,
        "key",
        &format!("key = \"{}\"\n", ["AKIA", "IOSFODNN7ABCDEFG"].concat()),
    );
    let key = git_ok(&work, &["hash-object", "-w", "key"]).await;
    let tree = git_ok(&work, &["rev-parse", &format!("{bomb}^{{tree}}")]).await;
    let top = raw(&work, &[("40000", b"a", &tree), ("100644", b"zz", &key)]).await;
    let told = git(&work, &["push", "origin", &format!("{top}:refs/heads/hidden")]).await;
    let text = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(
        !told.status.success() && text.contains("looks like a secret"),
        "{text}"
    );
    let refused = server.get("developer", "/acme/web/-/archive/bomb.tar.gz").await;
    assert_eq!(refused.status(), 422);
    let text = refused.text().await.unwrap();
    assert!(
        text.contains("more than 500000 files") && text.contains("--sparse"),
        "{text}"
    );
    // What is smaller is packed.
    let small = self::bomb(&work, &blob, 3).await;
    git_ok(
        &work,
        &["push", "--quiet", "origin", &format!("{small}:refs/heads/small")],
    )
    .await;
    let archive = server.get("developer", "/acme/web/-/archive/small.tar").await;
    assert_eq!(archive.status(), 200);
    assert!(archive.bytes().await.unwrap().len() > 1000 * 512);
}

#[tokio::test(flavor = "multi_thread")]
async fn partial_clones_keep_their_promises_through_pushes_and_upkeep() {
    let server = Server::start().await;
    let (_, work) = server.seeded("web").await;
    for n in 0..12 {
        write(&work, "data", &format!("{n}\n").repeat(500));
        commit(&work, &format!("Change {n}")).await;
    }
    git_ok(&work, &["push", "--quiet", "origin", "main"]).await;
    let address = server.address("developer", "web");
    git_ok(
        server.dir.path(),
        &["clone", "--quiet", "--filter=blob:none", &address, "partial"],
    )
    .await;
    let partial = server.path("partial");
    let missing = git_ok(&partial, &["rev-list", "--objects", "--all", "--missing=print"]).await;
    assert!(
        missing.lines().any(|line| line.starts_with('?')),
        "nothing is left out"
    );
    // It pushes, which sends a thin pack against what it does not hold itself.
    write(&partial, "more", "more\n");
    commit(&partial, "From a partial clone").await;
    git_ok(&partial, &["push", "--quiet", "origin", "HEAD:partial"]).await;
    assert_eq!(server.upkeep("web", "upkeep").await.good, Some(true));
    // And what it left out still comes.
    git_ok(&partial, &["checkout", "--quiet", "HEAD~5"]).await;
    assert_eq!(
        std::fs::read_to_string(partial.join("data"))
            .unwrap()
            .lines()
            .count(),
        500
    );
    // As runners and bots fetch: any commit by its identifier that a reference reaches.
    let old = git_ok(&work, &["rev-parse", "HEAD~3"]).await;
    git_ok(&partial, &["fetch", "--quiet", "--depth=1", &address, &old]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_project_redirects_git_and_browsers() {
    let server = Server::start().await;
    let (project, work) = server.seeded("web").await;
    let answer = server
        .http
        .patch(format!("{}/api/v1/projects/{GROUP}/web", server.url))
        .basic_auth("owner", Some("x"))
        .json(&json!({ "name": "site" }))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    write(&work, "more", "more\n");
    commit(&work, "More").await;
    // A clone that is out there goes on as before, and is told.
    let told = git(&work, &["push", "origin", "main"]).await;
    let text = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.status.success(), "{text}");
    assert!(
        text.contains("redirecting to") && text.contains("/acme/site.git"),
        "{text}"
    );
    git_ok(&work, &["fetch", "--quiet", "origin"]).await;
    let answer = server.get("reporter", "/acme/web/-/commits/main").await;
    assert_eq!(answer.status(), 307);
    assert_eq!(answer.headers()["location"], "/acme/site/-/commits/main");
    // Whoever may not see it learns nothing.
    assert_eq!(server.get("nobody", "/acme/web").await.status(), 404);
    let page = server.page("owner", "/acme/site/-/settings").await;
    assert!(
        page.contains("/acme/site/-/settings/deploy-keys") && page.contains("/acme/site/-/settings/storage")
    );
    assert!(!project.path.is_empty());
}
