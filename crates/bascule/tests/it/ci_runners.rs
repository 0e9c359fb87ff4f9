//! Runners in processes of their own: ours through the death of the server and of itself, and one that others wrote.

use crate::{
    BIN,
    ci_containers::{ended, job},
    fleet::{note, sh},
    product::rows,
};
use bascule_testkit::{Git, TestApp, until};
use gitlab_runner::{GitlabLayer, JobHandler, JobResult, Phase, RunnerBuilder, UploadableFile, outputln};
use std::{
    borrow::Cow,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

/// A process that ends with the test.
struct Part(Child);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server without a runner, a project, and a runner's token.
fn server() -> (TestApp, Git, String) {
    let app = TestApp::start_with(BIN, &[("BASCULE_JOBS", "1")]);
    drop(app.cli().ok(&["group", "create", "demo"]));
    drop(app.cli().ok(&["project", "create", "demo/p"]));
    (app, Git::init(), String::new())
}

async fn runner_token(app: &TestApp, tag: &str) -> String {
    let body = serde_json::json!({"description": format!("a runner for {tag}"), "tags": [tag], "run_untagged": false});
    let answer = app
        .request("POST", "/api/v1/runner")
        .json(&body)
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    let answer: serde_json::Value = answer.json().await.unwrap();
    answer["token"].as_str().unwrap().to_owned()
}

fn ours(app: &TestApp, token: &str, data: &Path) -> Part {
    let child = Command::new(BIN)
        .args(["runner", "--server", app.url(), "--data"])
        .arg(data)
        .env("BASCULE_RUNNER_TOKEN", token)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Part(child)
}

async fn writes(app: &TestApp, name: &str, line: &str) -> String {
    until("the job to write", Duration::from_secs(60), async || {
        let id = rows(&app.cli().json(&["pipeline", "list", "demo/p"])).first()?["id"]
            .as_i64()?
            .to_string();
        let (_, log) = job(app, "demo/p", &id, name);
        log.contains(line).then_some(id)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_goes_on_while_the_server_dies_and_a_killed_runners_job_is_tried_once_more() {
    let (mut app, git, _) = server();
    let token = runner_token(&app, "apart").await;
    let data = tempfile::tempdir().unwrap();
    let mut runner = ours(&app, &token, data.path());
    git.write(
        ".gitlab-ci.yml",
        "work:\n  tags: [apart]\n  script: [\"for i in $(seq 1 40); do echo line $i; sleep 0.2; done\"]\n",
    );
    git.commit("Work a while");
    drop(git.ok(&["push", "-q", &app.remote("demo/p", app.token()), "main"]));
    let id = writes(&app, "work", "line 3").await;
    app.kill();
    app.resume();
    let (_, status) = ended(&app, "demo/p").await;
    let (_, log) = job(&app, "demo/p", &id, "work");
    assert_eq!(status, "success", "{log}");
    let told: Vec<&str> = log.lines().filter(|line| line.starts_with("line ")).collect();
    assert_eq!(told.len(), 40, "no line is lost and none comes twice: {log}");
    let retried = rows(&app.cli().json(&["ledger", "list", "--kind", "job.retried"]));
    assert!(retried.is_empty(), "it was the same job all along: {retried:?}");

    // Now the runner dies.
    git.write("more", "x");
    git.commit("Work again");
    drop(git.ok(&["push", "-q", &app.remote("demo/p", app.token()), "main"]));
    until("a second pipeline", Duration::from_secs(30), async || {
        (rows(&app.cli().json(&["pipeline", "list", "demo/p"])).len() == 2).then_some(())
    })
    .await;
    writes(&app, "work", "line 3").await;
    runner.0.kill().unwrap();
    runner.0.wait().unwrap();
    runner = ours(&app, &token, data.path());
    let (_, status) = ended(&app, "demo/p").await;
    assert_eq!(status, "success");
    let retried = rows(&app.cli().json(&["ledger", "list", "--kind", "job.retried"]));
    assert_eq!(retried.len(), 1, "{retried:?}");
    let failed = rows(&app.cli().json(&["ledger", "list", "--kind", "job.finished"]));
    assert!(
        failed
            .iter()
            .any(|fact| fact.to_string().contains("runner_system_failure")),
        "the platform's failure: {failed:?}"
    );
    drop(runner);
}

/// A job's document as the server gave it: the crate reads what it knows, and this what it leaves out.
type Documents = Arc<Mutex<Vec<serde_json::Value>>>;

/// Stands between the crate and the server, passes all on, and keeps the jobs' documents.
async fn relay(server: String, documents: Documents) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let pass = move |request: axum::extract::Request| {
        let (client, server, documents) = (client.clone(), server.clone(), Arc::clone(&documents));
        async move {
            let (parts, body) = request.into_parts();
            let url = format!("{server}{}", parts.uri);
            let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
            let mut headers = parts.headers;
            headers.remove("host");
            let answer = client
                .request(parts.method, url)
                .headers(headers)
                .body(body)
                .send()
                .await
                .unwrap();
            let (status, mut headers) = (answer.status(), answer.headers().clone());
            headers.remove("transfer-encoding");
            headers.remove("content-length");
            let body = answer.bytes().await.unwrap();
            if parts.uri.path().ends_with("/jobs/request") && status == 201 {
                documents
                    .lock()
                    .unwrap()
                    .push(serde_json::from_slice(&body).unwrap());
            }
            (status, headers, body)
        }
    };
    let routes = axum::Router::new().fallback(pass);
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}

/// What a job made.
struct Made {
    path: String,
    content: Vec<u8>,
}

#[async_trait::async_trait]
impl UploadableFile for Made {
    type Data<'a> = &'a [u8];

    fn get_path(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.path)
    }

    async fn get_data(&self) -> Result<&'_ [u8], ()> {
        Ok(&self.content)
    }
}

/// One job of the other runner: it clones, brings artifacts and caches, starts services, and runs the script by `sh`.
struct Work {
    document: serde_json::Value,
    folder: PathBuf,
    cache: PathBuf,
    variables: Vec<(String, String)>,
    services: Vec<Part>,
}

impl Work {
    async fn new(run: gitlab_runner::job::Job, documents: Documents, cache: PathBuf) -> Result<Self, ()> {
        let mut document = None;
        for one in documents.lock().unwrap().iter() {
            if one["id"].as_u64() == Some(run.id()) {
                document = Some(one.clone());
            }
        }
        let document = document.ok_or(())?;
        let folder = run.build_dir().join("sources");
        let mut variables: Vec<(String, String)> = run
            .variables()
            .map(|v| (v.key().to_owned(), v.value().to_owned()))
            .collect();
        let url = run.variable("CI_REPOSITORY_URL").ok_or(())?.value().to_owned();
        let sha = run.variable("CI_COMMIT_SHA").ok_or(())?.value().to_owned();
        let folder_text = folder.display();
        sh(&format!(
            "git clone -q {url} {folder_text}; git -C {folder_text} checkout -q {sha}"
        ));
        for dependency in run.dependencies() {
            let Some(mut archive) = dependency.download().await.map_err(drop)? else {
                continue;
            };
            let names: Vec<String> = archive.file_names().map(str::to_owned).collect();
            for name in names {
                let mut content = Vec::new();
                archive
                    .file(&name)
                    .ok_or(())?
                    .read_to_end(&mut content)
                    .map_err(drop)?;
                let to = folder.join(&name);
                std::fs::create_dir_all(to.parent().ok_or(())?).map_err(drop)?;
                std::fs::write(to, content).map_err(drop)?;
            }
            outputln!("took the artifacts of {}", dependency.name());
        }
        for one in document["cache"].as_array().into_iter().flatten() {
            let from = cache.join(one["key"].as_str().unwrap_or_default());
            if from.is_dir() {
                sh(&format!("cp -a {}/. {folder_text}/", from.display()));
                outputln!("restored the cache {}", one["key"]);
            }
        }
        let mut services = Vec::new();
        for one in document["services"].as_array().into_iter().flatten() {
            let words: Vec<&str> = one["command"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|w| w.as_str())
                .collect();
            let (program, words) = words.split_first().ok_or(())?;
            let child = Command::new(program)
                .args(words)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .map_err(drop)?;
            services.push(Part(child));
            variables.push((
                "SERVICE_ALIAS".to_owned(),
                one["alias"].as_str().unwrap_or_default().to_owned(),
            ));
            outputln!("started the service {}", one["name"]);
        }
        Ok(Self {
            document,
            folder,
            cache,
            variables,
            services,
        })
    }
}

#[async_trait::async_trait]
impl JobHandler<Made> for Work {
    async fn step(&mut self, script: &[String], _phase: Phase) -> JobResult {
        let output = Command::new("bash")
            .args(["-ec", &script.join("\n")])
            .current_dir(&self.folder)
            .envs(self.variables.clone())
            .output()
            .map_err(drop)?;
        for text in [&output.stdout, &output.stderr] {
            for line in String::from_utf8_lossy(text).lines() {
                outputln!("{}", line);
            }
        }
        for one in self.document["cache"].as_array().into_iter().flatten() {
            let to = self.cache.join(one["key"].as_str().unwrap_or_default());
            for path in one["paths"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|path| path.as_str())
            {
                sh(&format!(
                    "mkdir -p {to}; cd {}; [ ! -e {path} ] || cp -a --parents {path} {to}/",
                    self.folder.display(),
                    to = to.display()
                ));
            }
        }
        if output.status.success() { Ok(()) } else { Err(()) }
    }

    async fn get_uploadable_files(&mut self) -> Result<Box<dyn Iterator<Item = Made> + Send>, ()> {
        let mut all = Vec::new();
        for artifact in self.document["artifacts"].as_array().into_iter().flatten() {
            for path in artifact["paths"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|path| path.as_str())
            {
                for file in sh(&format!("cd {}; find {path} -type f", self.folder.display())).lines() {
                    let content = std::fs::read(self.folder.join(file)).map_err(drop)?;
                    all.push(Made {
                        path: file.to_owned(),
                        content,
                    });
                }
            }
        }
        self.services.clear();
        Ok(Box::new(all.into_iter()))
    }
}

/// Not a test: the other runner's process, which the test below starts from this very program.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process of a runner, started by a test"]
async fn other_runner_process() {
    use tracing_subscriber::{Registry, layer::SubscriberExt as _, util::SubscriberInitExt as _};
    let (Ok(server), Ok(token), Ok(dir)) = (
        std::env::var("OTHER_RUNNER_SERVER"),
        std::env::var("OTHER_RUNNER_TOKEN"),
        std::env::var("OTHER_RUNNER_DIR"),
    ) else {
        return;
    };
    let (layer, jobs) = GitlabLayer::new();
    let _guard = Registry::default().with(layer).set_default();
    let documents = Documents::default();
    let url = relay(server, Arc::clone(&documents)).await;
    let dir = PathBuf::from(dir);
    let mut runner = RunnerBuilder::new(url::Url::parse(&url).unwrap(), token, dir.join("builds"), jobs)
        .version("0.3")
        .build()
        .await;
    std::fs::create_dir_all(dir.join("builds")).unwrap();
    note(&format!("ready {}", std::process::id()));
    std::io::stdout().flush().unwrap();
    let cache = dir.join("cache");
    loop {
        let (documents, cache) = (Arc::clone(&documents), cache.clone());
        let taken = runner
            .request_job(move |run| Work::new(run, documents, cache))
            .await;
        if !matches!(taken, Ok(true)) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        runner.drain().await;
    }
}

const CI: &str = r#"stages: [build, test]
default: { tags: [other] }
make:
  stage: build
  before_script: [mkdir -p out]
  script:
    - if [ -e deps/made ]; then echo the cache was here; else mkdir -p deps; echo made > deps/made; fi
    - echo forty-two > out/result.txt
  cache: { key: deps, paths: [deps] }
  artifacts: { paths: [out] }
check:
  stage: test
  services:
    - name: web
      alias: web
      command: [python3, -m, http.server, "PORT", --bind, 127.0.0.1]
  script:
    - grep forty-two out/result.txt
    - for i in $(seq 50); do curl -s -o page --noproxy '*' http://127.0.0.1:PORT/ && break; sleep 0.1; done
    - grep -q Directory page && echo the service answered as $SERVICE_ALIAS
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gitlab_runner_crate_in_its_own_process_serves_artifacts_cache_and_services() {
    let (app, git, _) = server();
    let token = runner_token(&app, "other").await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("builds")).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "ci_runners::other_runner_process",
            "--ignored",
            "--nocapture",
        ])
        .env("OTHER_RUNNER_SERVER", app.url())
        .env("OTHER_RUNNER_TOKEN", &token)
        .env("OTHER_RUNNER_DIR", dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let runner = Part(child);
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    git.write(".gitlab-ci.yml", &CI.replace("PORT", &port.to_string()));
    for round in 1..=2 {
        git.write("round", &round.to_string());
        git.commit("A round");
        drop(git.ok(&["push", "-q", &app.remote("demo/p", app.token()), "main"]));
        until("the round's pipeline", Duration::from_secs(30), async || {
            (rows(&app.cli().json(&["pipeline", "list", "demo/p"])).len() == round).then_some(())
        })
        .await;
        let (id, status) = ended(&app, "demo/p").await;
        let (made, checked) = (
            job(&app, "demo/p", &id, "make").1,
            job(&app, "demo/p", &id, "check").1,
        );
        assert_eq!(status, "success", "{made}\n{checked}");
        assert_eq!(made.contains("the cache was here"), round == 2, "{made}");
        for part in [
            "took the artifacts of make",
            "forty-two",
            "the service answered as web",
        ] {
            assert!(checked.contains(part), "{part}: {checked}");
        }
    }
    drop(runner);
}
