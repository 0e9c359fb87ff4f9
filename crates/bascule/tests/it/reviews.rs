//! Reviews: nobody merges around them. One test for each way in which someone might try, and what people see.

use crate::BIN;
use bascule_testkit::{Git, TestApp};
use serde_json::{Value, json};
use std::{collections::HashMap, time::Duration};

/// A project with people of several roles: `developer` opens, `second` (developer), `sre` (maintainer) and
/// `security` (developer, and alone in the group `sec`) review, `reader` reads.
pub struct Scene {
    pub app: TestApp,
    pub tokens: HashMap<&'static str, String>,
    pub git: Git,
}

pub const PROJECT: &str = "demo/p";
pub const PATH: &str = "/api/v1/projects/demo/p";

impl Scene {
    pub async fn with(files: &[(&str, &str)]) -> Self {
        Self::on(TestApp::start(BIN), files).await
    }

    pub async fn on(app: TestApp, files: &[(&str, &str)]) -> Self {
        let cli = app.cli();
        drop(cli.ok(&["group", "create", "demo"]));
        drop(cli.ok(&["group", "create", "sec"]));
        drop(cli.ok(&["project", "create", PROJECT]));
        let mut tokens = HashMap::from([("admin", app.token().to_owned())]);
        for (name, role) in [
            ("developer", "developer"),
            ("second", "developer"),
            ("sre", "maintainer"),
            ("security", "developer"),
            ("reader", "reporter"),
        ] {
            let body = json!({ "username": name, "email": format!("{name}@example.org") });
            let created = app
                .request("POST", "/api/v1/users")
                .json(&body)
                .send()
                .await
                .unwrap();
            let created: Value = created.json().await.unwrap();
            drop(cli.ok(&["group", "set-member", "demo", name, "--role", role]));
            let password = created["initial_password"].as_str().unwrap();
            tokens.insert(name, token_of(&app, name, password, "api").await);
        }
        drop(cli.ok(&["group", "set-member", "sec", "security", "--role", "developer"]));
        let git = Git::init();
        git.write("README.md", "one\ntwo\nthree\nfour\nfive\n");
        for (path, text) in files {
            git.write(path, text);
        }
        git.commit("Begin");
        drop(git.ok(&["push", "-q", &app.remote(PROJECT, app.token()), "main"]));
        Self { app, tokens, git }
    }

    /// A branch with these files, pushed by someone. The commit is theirs too.
    pub fn push(&self, who: &str, branch: &str, files: &[(&str, &str)]) -> String {
        drop(self.git.run(&["checkout", "-q", "-b", branch]));
        drop(self.git.ok(&["checkout", "-q", branch]));
        for (path, text) in files {
            self.git.write(path, text);
        }
        self.commit_as(who, "Change");
        self.push_branch(who, branch)
    }

    pub fn commit_as(&self, who: &str, message: &str) {
        drop(self.git.ok(&["add", "-A"]));
        let (name, email) = (
            format!("user.name={who}"),
            format!("user.email={who}@example.org"),
        );
        drop(self.git.ok(&[
            "-c",
            &name,
            "-c",
            &email,
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            message,
        ]));
    }

    pub fn push_branch(&self, who: &str, branch: &str) -> String {
        let remote = self.app.remote(PROJECT, &self.tokens[who]);
        drop(self.git.ok(&["push", "-q", "-f", &remote, branch]));
        self.git.ok(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    pub async fn send(&self, who: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let mut request = self.app.anonymous(method, path).bearer_auth(&self.tokens[who]);
        if !body.is_null() {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub async fn ok(&self, who: &str, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.send(who, method, path, body).await;
        assert!(status < 300, "{who}: {method} {path}: {status} {answer}");
        answer
    }

    pub async fn refused(&self, who: &str, path: &str, body: &Value) -> String {
        let (status, answer) = self.send(who, "POST", path, body).await;
        assert!(
            (400..500).contains(&status),
            "{who}: POST {path}: {status} {answer}"
        );
        answer["code"].as_str().unwrap_or_default().to_owned()
    }

    pub async fn settings(&self, change: &Value) {
        self.ok("sre", "PATCH", &format!("{PATH}/review-settings"), change)
            .await;
    }

    /// Opens a request as `developer`; its path.
    pub async fn open(&self, branch: &str) -> String {
        let body = json!({ "source_branch": branch, "title": format!("Take {branch}") });
        let made = self
            .ok("developer", "POST", &format!("{PATH}/merge-requests"), &body)
            .await;
        format!("{PATH}/merge-requests/{}", made["iid"])
    }

    pub async fn head(&self, request: &str) -> String {
        let found = self.ok("admin", "GET", request, &Value::Null).await;
        found["head"].as_str().unwrap().to_owned()
    }

    pub async fn approve(&self, who: &str, request: &str) -> (u16, Value) {
        let body = json!({ "sha": self.head(request).await });
        self.send(who, "POST", &format!("{request}/approve"), &body).await
    }

    pub async fn approved(&self, request: &str) -> bool {
        let found = self
            .ok("admin", "GET", &format!("{request}/approvals"), &Value::Null)
            .await;
        found["approved"] == true
    }

    pub async fn check(&self, request: &str, name: &str) -> Option<Value> {
        let found = self.ok("admin", "GET", request, &Value::Null).await;
        let checks = found["checks"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == name).cloned()
    }

    /// Waits until the request has taken a push up.
    pub async fn taken_up(&self, request: &str, head: &str) {
        for _ in 0..400 {
            if self.head(request).await == head {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{request} never came to {head}");
    }
}

pub async fn token_of(app: &TestApp, name: &str, password: &str, scope: &str) -> String {
    let answer = app
        .anonymous("POST", "/sign-in")
        .header("origin", app.url())
        .form(&[("username", name), ("password", password), ("next", "/")])
        .send()
        .await
        .unwrap();
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    let made: Value = app
        .anonymous("POST", "/api/v1/user/tokens")
        .header("origin", app.url())
        .header("cookie", cookie.split(';').next().unwrap())
        .json(&json!({ "name": "test", "scopes": [scope, "write_repository"] }))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    made["secret"].as_str().unwrap().to_owned()
}

pub fn code(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["code"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn one_approval_by_someone_else_is_needed_and_enough() {
    let scene = Scene::with(&[]).await;
    scene.settings(&json!({ "approvals": 1 })).await;
    scene.push("developer", "a", &[("a.txt", "a\n")]);
    let request = scene.open("a").await;
    let held = scene.check(&request, "approvals").await.unwrap();
    assert_eq!(held["state"], "pending", "{held}");
    assert!(held["next"].as_str().unwrap().contains("second"), "{held}");
    // Own approval, by API and by page.
    assert_eq!(
        code(&scene.approve("developer", &request).await),
        (403, "own_request")
    );
    let head = scene.head(&request).await;
    let page = scene
        .app
        .anonymous("POST", "/demo/p/-/merge-requests/1/approve")
        .bearer_auth(&scene.tokens["developer"])
        .form(&[("sha", head.as_str())])
        .send()
        .await
        .unwrap();
    assert_eq!(page.status(), 403);
    // The same as a review's verdict.
    let body = json!({ "verdict": "approve", "sha": head });
    let told = scene
        .refused("developer", &format!("{request}/reviews"), &body)
        .await;
    assert_eq!(told, "own_request");
    // Someone who only reads, and a program, however high its role.
    assert_eq!(scene.approve("reader", &request).await.0, 403);
    let bot = scene.app.cli().json(&[
        "token",
        "create",
        "bot",
        "--project",
        PROJECT,
        "--role",
        "maintainer",
        "--scope",
        "api",
    ]);
    let answer = scene
        .app
        .anonymous("POST", &format!("{request}/approve"))
        .bearer_auth(bot["secret"].as_str().unwrap())
        .json(&json!({ "sha": head }))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 403);
    assert!(answer.text().await.unwrap().contains("not_a_person"));
    // Without the commit that was looked at, or with another.
    let told = scene
        .refused(
            "second",
            &format!("{request}/reviews"),
            &json!({ "verdict": "approve" }),
        )
        .await;
    assert_eq!(told, "no_head");
    let told = scene
        .refused(
            "second",
            &format!("{request}/approve"),
            &json!({ "sha": "0".repeat(40) }),
        )
        .await;
    assert_eq!(told, "stale_head");
    assert!(!scene.approved(&request).await);
    assert_eq!(scene.approve("second", &request).await.0, 200);
    assert_eq!(
        scene.check(&request, "approvals").await.unwrap()["state"],
        "passed"
    );
    // Taken back, it is missing again.
    scene
        .ok("second", "POST", &format!("{request}/unapprove"), &Value::Null)
        .await;
    assert!(!scene.approved(&request).await);
}

#[tokio::test]
async fn nobody_merges_around_a_review() {
    let scene = Scene::with(&[]).await;
    scene.settings(&json!({ "approvals": 1 })).await;
    let old = scene.push("developer", "a", &[("a.txt", "a\n")]);
    let request = scene.open("a").await;
    let merge = format!("{request}/merge");
    // By API, as a maintainer, as the administrator, and by page.
    for who in ["sre", "admin"] {
        let (status, told) = scene.send(who, "POST", &merge, &json!({ "sha": old })).await;
        assert!((400..500).contains(&status), "{who}: {status} {told}");
        assert!(told.to_string().contains("Approval"), "{who}: {told}");
    }
    let page = scene
        .app
        .request("POST", "/demo/p/-/merge-requests/1/merge")
        .form(&[("sha", old.as_str()), ("strategy", "merge")])
        .send()
        .await
        .unwrap();
    assert!(page.status().is_client_error(), "{}", page.status());
    // By a direct push of a developer.
    let remote = scene.app.remote(PROJECT, &scene.tokens["developer"]);
    let told = scene.git.refused(&["push", "-q", &remote, "a:main"]);
    assert!(told.contains("protected"), "{told}");
    // Approved, then pushed to: neither the new head nor the old one is merged.
    assert_eq!(scene.approve("second", &request).await.0, 200);
    scene.git.write("a.txt", "other\n");
    scene.commit_as("developer", "Other");
    let new = scene.push_branch("developer", "a");
    scene.taken_up(&request, &new).await;
    for sha in [&new, &old] {
        let (status, told) = scene.send("sre", "POST", &merge, &json!({ "sha": sha })).await;
        assert!((400..500).contains(&status), "{sha}: {status} {told}");
    }
    assert_eq!(scene.approve("second", &request).await.0, 200);
    let (status, told) = scene.send("sre", "POST", &merge, &json!({ "sha": old })).await;
    assert!(
        (400..500).contains(&status),
        "a stale head was merged: {status} {told}"
    );
    scene.ok("sre", "POST", &merge, &json!({ "sha": new })).await;
    drop(scene.git.ok(&[
        "fetch",
        "-q",
        &scene.app.remote(PROJECT, scene.app.token()),
        "main",
    ]));
    let message = scene.git.ok(&["log", "-1", "--format=%B", "FETCH_HEAD"]);
    assert!(message.contains("Approved-by: second"), "{message}");
}

#[tokio::test]
async fn a_token_that_only_reads_approves_nothing() {
    let scene = Scene::with(&[]).await;
    let created = scene.app.cli().json(&["user", "create", "auditor"]);
    drop(
        scene
            .app
            .cli()
            .ok(&["group", "set-member", "demo", "auditor", "--role", "maintainer"]),
    );
    let password = created["initial_password"].as_str().unwrap();
    let token = token_of(&scene.app, "auditor", password, "read_api").await;
    scene.push("developer", "a", &[("a.txt", "a\n")]);
    let request = scene.open("a").await;
    let head = scene.head(&request).await;
    for (path, body) in [
        ("approve", json!({ "sha": head })),
        ("reviews", json!({ "verdict": "approve", "sha": head })),
        ("threads", json!({ "body": "x" })),
    ] {
        let answer = scene
            .app
            .anonymous("POST", &format!("{request}/{path}"))
            .bearer_auth(&token)
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 403, "{path}");
    }
}

#[tokio::test]
async fn whoever_wrote_or_pushed_a_part_does_not_approve_it() {
    let scene = Scene::with(&[]).await;
    scene.settings(&json!({ "approvals": 1 })).await;
    scene.push("developer", "a", &[("a.txt", "a\n")]);
    // `second` wrote a commit that `developer` pushes; `security` pushes one that names someone else.
    scene.git.write("b.txt", "b\n");
    scene.commit_as("second", "By another");
    scene.push_branch("developer", "a");
    scene.git.write("c.txt", "c\n");
    scene.commit_as("nobody", "By a stranger");
    let head = scene.push_branch("security", "a");
    let request = scene.open("a").await;
    scene.taken_up(&request, &head).await;
    assert_eq!(
        code(&scene.approve("second", &request).await),
        (403, "own_commits")
    );
    // Whoever pushed before the request was opened is known too, once the push's fact is heard.
    let mut told = Value::Null;
    for _ in 0..400 {
        let seen = scene
            .ok("security", "GET", &format!("{request}/approvals"), &Value::Null)
            .await;
        told = seen["you_may_not"].clone();
        if told.is_string() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(
        told.as_str()
            .is_some_and(|told| told.contains("a part of it is yours")),
        "{told}"
    );
    scene.git.write("d.txt", "d\n");
    scene.commit_as("nobody", "By a stranger again");
    let head = scene.push_branch("security", "a");
    scene.taken_up(&request, &head).await;
    assert_eq!(
        code(&scene.approve("security", &request).await),
        (403, "own_commits")
    );
    // Squashed away under another name, they wrote it still.
    drop(scene.git.ok(&["reset", "-q", "--soft", "main"]));
    scene.commit_as("developer", "All mine");
    let head = scene.push_branch("developer", "a");
    scene.taken_up(&request, &head).await;
    assert_eq!(
        code(&scene.approve("second", &request).await),
        (403, "own_commits")
    );
    assert_eq!(scene.approve("sre", &request).await.0, 200);
    assert!(scene.approved(&request).await);
    // A project may see it otherwise; its own author never.
    scene.settings(&json!({ "writers_barred": false })).await;
    assert_eq!(scene.approve("second", &request).await.0, 200);
    assert_eq!(
        code(&scene.approve("developer", &request).await),
        (403, "own_request")
    );
}

#[tokio::test]
async fn a_push_ends_approvals_and_a_pure_rebase_does_not() {
    let scene = Scene::with(&[]).await;
    scene.settings(&json!({ "approvals": 1 })).await;
    scene.push("developer", "a", &[("a.txt", "def f():\n    return 1\n")]);
    let request = scene.open("a").await;
    assert_eq!(scene.approve("second", &request).await.0, 200);
    assert!(scene.approved(&request).await);
    // The target moves, and the branch is put on top of it.
    drop(scene.git.ok(&["checkout", "-q", "main"]));
    scene.git.write("other.txt", "other\n");
    scene.git.commit("Elsewhere");
    drop(scene.git.ok(&[
        "push",
        "-q",
        &scene.app.remote(PROJECT, scene.app.token()),
        "main",
    ]));
    drop(scene.git.ok(&["checkout", "-q", "a"]));
    drop(scene.git.ok(&["rebase", "-q", "main"]));
    let head = scene.push_branch("developer", "a");
    scene.taken_up(&request, &head).await;
    assert!(scene.approved(&request).await, "a pure rebase keeps the approval");
    // Put before an older base, it would also bring back what the target had since.
    let rebased = scene.git.ok(&["rev-parse", "HEAD"]);
    let older = scene.git.ok(&["rev-parse", "main~1"]);
    let commit = [
        "commit-tree",
        "-p",
        older.trim(),
        "-m",
        "Same files",
        "HEAD^{tree}",
    ];
    let moved = scene.git.ok(&commit);
    drop(scene.git.ok(&["reset", "-q", "--hard", moved.trim()]));
    let head = scene.push_branch("developer", "a");
    scene.taken_up(&request, &head).await;
    assert!(!scene.approved(&request).await, "an older base is another change");
    drop(scene.git.ok(&["reset", "-q", "--hard", rebased.trim()]));
    let head = scene.push_branch("developer", "a");
    scene.taken_up(&request, &head).await;
    assert!(scene.approved(&request).await);
    // Blanks alone are a change, which in some languages means another thing.
    scene.git.write("a.txt", "def f():\n  return 1\n");
    scene.commit_as("developer", "Only blanks");
    let head = scene.push_branch("developer", "a");
    scene.taken_up(&request, &head).await;
    assert!(
        !scene.approved(&request).await,
        "an approval of something else counted"
    );
    let found = scene
        .ok("admin", "GET", &format!("{request}/approvals"), &Value::Null)
        .await;
    assert_eq!(found["ignored"][0]["name"], "second", "{found}");
    assert!(
        found["ignored"][0]["why"].as_str().unwrap().contains("earlier"),
        "{found}"
    );
    // What was approved for one branch is not for another.
    assert_eq!(scene.approve("second", &request).await.0, 200);
    drop(scene.git.ok(&[
        "push",
        "-q",
        &scene.app.remote(PROJECT, scene.app.token()),
        "main:release",
    ]));
    scene
        .ok(
            "developer",
            "PATCH",
            &request,
            &json!({ "target_branch": "release" }),
        )
        .await;
    assert!(
        !scene.approved(&request).await,
        "an approval went with the change to another branch"
    );
    // The ledger was told once that it no longer counted.
    let facts = scene
        .app
        .cli()
        .json(&["ledger", "list", "--kind", "review.approvals_reset"]);
    assert!(!crate::product::rows(&facts).is_empty(), "{facts}");
}

#[tokio::test]
async fn approvals_end_with_the_role_and_with_the_team() {
    let scene = Scene::with(&[]).await;
    let team = json!([{ "name": "Security", "group": "sec", "required": 1 }]);
    scene.settings(&json!({ "approvals": 1, "teams": team })).await;
    scene.push("developer", "a", &[("a.txt", "a\n")]);
    let request = scene.open("a").await;
    assert_eq!(scene.approve("sre", &request).await.0, 200);
    assert!(
        !scene.approved(&request).await,
        "a maintainer stood in for a team"
    );
    assert_eq!(scene.approve("security", &request).await.0, 200);
    assert!(scene.approved(&request).await);
    let cli = scene.app.cli();
    // Out of the team: the approval counts as anyone's, not as the team's.
    drop(cli.ok(&["group", "remove-member", "sec", "security"]));
    assert!(
        !scene.approved(&request).await,
        "an approval outlived the membership in the team"
    );
    drop(cli.ok(&["group", "set-member", "sec", "security", "--role", "developer"]));
    assert!(scene.approved(&request).await);
    // A role that is too low, none, and a closed account.
    drop(cli.ok(&["group", "set-member", "demo", "security", "--role", "reporter"]));
    assert!(!scene.approved(&request).await, "an approval outlived the role");
    drop(cli.ok(&["group", "set-member", "demo", "security", "--role", "developer"]));
    assert!(scene.approved(&request).await);
    drop(cli.ok(&["user", "deactivate", "security"]));
    assert!(
        !scene.approved(&request).await,
        "an approval outlived the account"
    );
}

/// Settings that name a group, so that `CODEOWNERS` may.
fn named(group: &str) -> Value {
    json!({ "teams": [{ "name": group, "group": group, "required": 0 }] })
}

#[tokio::test]
async fn nobody_becomes_an_owner_by_making_a_group_or_choosing_an_address() {
    let owners = "/pay/ @payments-team\n/auth/ @sre\n/mail/ owner@example.org\n";
    let scene = Scene::with(&[("CODEOWNERS", owners)]).await;
    let group = |name: &str| json!({ "name": name, "visibility": "private" });
    scene
        .ok("developer", "POST", "/api/v1/groups", &group("payments-team"))
        .await;
    let member = "/api/v1/groups/payments-team/members/second";
    scene
        .ok("developer", "PUT", member, &json!({ "role": "developer" }))
        .await;
    let (status, told) = scene
        .send("developer", "POST", "/api/v1/groups", &group("sre"))
        .await;
    assert_eq!(
        (status, &told["code"]),
        (409, &json!("name_of_an_account")),
        "{told}"
    );
    for path in ["pay", "auth", "mail"] {
        drop(scene.git.ok(&["checkout", "-q", "main"]));
        scene.push("developer", path, &[(format!("{path}/x.rs").as_str(), "x\n")]);
        let request = scene.open(path).await;
        assert_eq!(scene.approve("second", &request).await.0, 200);
        assert!(
            !scene.approved(&request).await,
            "{path}: whoever took the name counted"
        );
        if path == "pay" {
            // Whoever keeps the project's rules may name the group.
            scene.settings(&named("payments-team")).await;
            assert!(scene.approved(&request).await);
        }
    }
}

const OWNERS: &str = "\
/docs/ @@developers
[Security] @sec
/auth/
[Past] @gone
/past/
";

#[tokio::test]
async fn owners_approve_what_they_own_by_the_target_branchs_file() {
    let scene = Scene::with(&[
        ("CODEOWNERS", OWNERS),
        ("auth/login.rs", "fn login() {}\n".repeat(20).as_str()),
    ])
    .await;
    scene.settings(&named("sec")).await;
    // Free of owners: nothing is asked.
    scene.push("developer", "free", &[("src/x.rs", "x\n")]);
    let free = scene.open("free").await;
    assert!(scene.check(&free, "approvals").await.is_none());
    // The owner's file, with the owners changed in the same request.
    drop(scene.git.ok(&["checkout", "-q", "main"]));
    scene.push(
        "developer",
        "sly",
        &[
            ("auth/login.rs", "fn login() { true }\n"),
            ("CODEOWNERS", "* @developer @second\n"),
        ],
    );
    let sly = scene.open("sly").await;
    assert_eq!(scene.approve("second", &sly).await.0, 200);
    assert!(!scene.approved(&sly).await, "the branch's own CODEOWNERS counted");
    // The owner's file moved out of the way: both paths count.
    drop(scene.git.ok(&["checkout", "-q", "main"]));
    drop(scene.git.ok(&["checkout", "-q", "-b", "moved"]));
    std::fs::create_dir_all(scene.git.path().join("lib")).unwrap();
    drop(scene.git.ok(&["mv", "auth/login.rs", "lib/login.rs"]));
    scene.commit_as("developer", "Move");
    scene.push_branch("developer", "moved");
    let moved = scene.open("moved").await;
    let held = scene.check(&moved, "approvals").await.unwrap();
    assert_eq!(held["state"], "pending", "a moved file lost its owners: {held}");
    assert!(held["why"].as_str().unwrap().contains("auth/login.rs"), "{held}");
    assert_eq!(scene.approve("sre", &moved).await.0, 200);
    assert!(!scene.approved(&moved).await);
    assert_eq!(scene.approve("security", &moved).await.0, 200);
    assert!(scene.approved(&moved).await);
    // The owners' page and API say why.
    let owners = scene
        .ok(
            "reader",
            "GET",
            &format!("{PATH}/owners?path=auth/login.rs"),
            &Value::Null,
        )
        .await;
    assert_eq!(
        owners["owners"][0]["people"],
        json!(["admin", "security"]),
        "{owners}"
    );
    let page = scene.app.page("/demo/p/-/owners?path=auth%2Flogin.rs").await;
    page.shows(".list-group-item", "Security");
    // No owner is left who may: a maintainer stands in, and nobody below.
    drop(scene.git.ok(&["checkout", "-q", "main"]));
    scene.push("developer", "past", &[("past/x.rs", "x\n")]);
    let past = scene.open("past").await;
    assert_eq!(scene.approve("second", &past).await.0, 200);
    assert!(!scene.approved(&past).await);
    assert_eq!(scene.approve("sre", &past).await.0, 200);
    assert!(
        scene.approved(&past).await,
        "nobody stands in for owners who are gone"
    );
    // Suggested are those whose word is missing.
    drop(
        scene
            .app
            .cli()
            .ok(&["group", "set-member", "sec", "security", "--role", "developer"]),
    );
    let some = scene
        .ok(
            "developer",
            "GET",
            &format!("{sly}/suggested-reviewers"),
            &Value::Null,
        )
        .await;
    let names: Vec<_> = some["reviewers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].clone())
        .collect();
    assert_eq!(names, ["admin", "security"], "{some}");
}

#[tokio::test]
async fn the_same_rules_hold_on_postgresql() {
    let scene = Scene::on(TestApp::start_on_postgres(BIN), &[("CODEOWNERS", OWNERS)]).await;
    scene
        .settings(&json!({ "approvals": 1, "resolve_threads": true, "teams": named("sec")["teams"] }))
        .await;
    scene.push("developer", "a", &[("auth/x.rs", "one\n")]);
    let request = scene.open("a").await;
    let body = json!({ "body": "hm\u{0}", "position": { "path": "auth/x.rs", "start": 1, "end": 1 } });
    let made = scene
        .ok("second", "POST", &format!("{request}/threads"), &body)
        .await;
    let thread = format!("{request}/threads/{}", made["id"].as_str().unwrap());
    assert_eq!(scene.check(&request, "threads").await.unwrap()["state"], "failed");
    scene
        .ok("developer", "PUT", &thread, &json!({ "resolved": true }))
        .await;
    assert_eq!(scene.approve("second", &request).await.0, 200);
    assert!(!scene.approved(&request).await);
    assert_eq!(scene.approve("security", &request).await.0, 200);
    assert!(scene.approved(&request).await);
    let people = json!({ "reviewers": ["sre"], "assignees": ["developer"] });
    let answer = scene
        .ok("developer", "PUT", &format!("{request}/people"), &people)
        .await;
    assert_eq!(answer["assignees"], json!(["developer"]), "{answer}");
    let cli = scene.app.cli_as(&scene.tokens["sre"]);
    drop(cli.ok(&["mr", "review", "1", "--approve", "--project", PROJECT]));
    drop(cli.ok(&["mr", "approvals", "1", "--project", PROJECT]));
    assert_eq!(scene.app.page("/demo/p/-/settings/reviews").await.status, 200);
}
