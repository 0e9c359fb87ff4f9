//! Images of releases, pulled by stock clients.

use crate::{
    BIN,
    fleet::{self, Fleet, PROJECT, Version, code, sh},
};
use bascule_testkit::{TestApp, until};
use serde_json::{Value, json};
use std::{process::Command, time::Duration};

fn fails(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(!output.status.success(), "{script} went well");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn host(app: &TestApp) -> &str {
    app.url().strip_prefix("http://").unwrap()
}

/// Skopeo's flags for one source.
fn source(app: &TestApp, user: &str, secret: &str, reference: &str) -> String {
    format!(
        "--creds '{user}:{secret}' --tls-verify=false docker://{}/{PROJECT}{reference}",
        host(app)
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_clients_pull_the_images_of_releases_and_no_others() {
    let app = TestApp::start(BIN);
    let git = fleet::create(&app);
    let version = |number| Version {
        image: true,
        ..Version::new(number)
    };
    version("1.0.0").release(&app, &git).await;
    version("1.1.0").release(&app, &git).await;
    let cli = app.cli();
    let made = cli.json(&[
        "token",
        "create",
        "cluster",
        "--project",
        PROJECT,
        "--role",
        "reporter",
        "--scope",
        "read_registry",
    ]);
    let secret = made["secret"].as_str().unwrap();

    // Skopeo inspects by tag and by digest, and lists tags.
    let of = |reference: &str| source(&app, "cluster", secret, reference);
    let seen: Value = serde_json::from_str(&sh(&format!("skopeo inspect {}", of(":1.1.0")))).unwrap();
    assert_eq!(seen["RepoTags"], json!(["1.0.0", "1.1.0"]));
    let digest = seen["Digest"].as_str().unwrap().to_owned();
    let raw = sh(&format!("skopeo inspect --raw {}", of(&format!("@{digest}"))));
    assert_eq!(bascule_core::Digest::of(raw.as_bytes()).to_string(), digest);

    // What is copied is what the pipeline built, byte for byte.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    std::fs::write(
        folder.path().join("policy.json"),
        r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
    )
    .unwrap();
    sh(&format!(
        "skopeo --policy {path}/policy.json copy -q --src-creds 'cluster:{secret}' --src-tls-verify=false \
         docker://{}/{PROJECT}:1.1.0 oci:{path}/pulled:x",
        host(&app)
    ));
    let built = sh(&format!(
        "skopeo inspect --config oci-archive:{}/hello.oci.tar",
        git.path().display()
    ));
    assert_eq!(sh(&format!("skopeo inspect --config oci:{path}/pulled:x")), built);

    // Podman signs in, pulls and runs.
    let image = format!("{}/{PROJECT}:1.1.0", host(&app));
    sh(&format!(
        "podman login --tls-verify=false -u cluster -p '{secret}' --authfile {path}/auth.json {}",
        host(&app)
    ));
    sh(&format!(
        "podman pull -q --tls-verify=false --authfile {path}/auth.json {image} >/dev/null 2>&1; podman rmi -f {image} >/dev/null 2>&1"
    ));
    assert!(
        fails(&format!(
            "podman login --tls-verify=false -u cluster -p wrong --authfile {path}/auth.json {}",
            host(&app)
        ))
        .contains("invalid username/password")
    );

    // Nobody, and who may only fetch code, get nothing, and are told.
    let said = fails(&format!(
        "skopeo inspect --tls-verify=false --no-creds docker://{image}"
    ));
    assert!(
        said.contains("unauthorized") || said.contains("authentication required"),
        "{said}"
    );
    let made = cli.json(&["token", "create", "code", "--scope", "read_repository"]);
    let said = fails(&format!(
        "skopeo inspect {}",
        source(&app, "code", made["secret"].as_str().unwrap(), ":1.1.0")
    ));
    assert!(said.contains("pull this project's images"), "{said}");
    let said = fails(&format!("skopeo inspect {}", of(":9.9.9")));
    assert!(
        said.contains("manifest unknown") || said.contains("A tag is the version"),
        "{said}"
    );

    // Bytes in the middle of a layer.
    let manifest: Value = serde_json::from_str(&raw).unwrap();
    let layer = &manifest["layers"][0];
    let path = format!("/v2/{PROJECT}/blobs/{}", layer["digest"].as_str().unwrap());
    let whole = app
        .request("GET", &path)
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    assert_eq!(whole.len() as u64, layer["size"].as_u64().unwrap());
    let part = app
        .request("GET", &path)
        .header("range", "bytes=10-19")
        .send()
        .await
        .unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.bytes().await.unwrap(), whole[10..20]);
    let head = app.request("HEAD", &path).send().await.unwrap();
    assert_eq!(
        head.headers()["content-length"],
        layer["size"].to_string().as_str()
    );
    let pushed = app
        .request("POST", &format!("/v2/{PROJECT}/blobs/uploads/"))
        .send()
        .await
        .unwrap();
    assert_eq!(pushed.status(), 405);
    let told: Value = pushed.json().await.unwrap();
    assert_eq!(told["errors"][0]["code"], "UNSUPPORTED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_of_a_cluster_pulls_what_it_runs_and_nothing_else() {
    let app = TestApp::start(BIN);
    let git = fleet::create(&app);
    Version {
        image: true,
        ..Version::new("1.0.0")
    }
    .release(&app, &git)
    .await;
    Version {
        image: true,
        ..Version::new("1.1.0")
    }
    .release(&app, &git)
    .await;
    let enrolled: Value = app
        .anonymous("POST", "/api/v1/agent/enrol")
        .json(&json!({ "code": code(&app, "agents", "cluster-1") }))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let token = enrolled["token"].as_str().unwrap();
    let report = json!({ "version": "x", "at": "2026-01-01T00:00:00Z", "disk_free_bytes": 1, "drivers": ["kubernetes"], "instances": [] });
    let sync = async || -> Value {
        let mut report = report.clone();
        report["at"] = json!(bascule_core::Clock::now(&bascule_core::SystemClock).to_string());
        let answer = app
            .anonymous("POST", "/api/v1/agent/sync?revision=-1&wait=0")
            .bearer_auth(token)
            .json(&report)
            .send()
            .await
            .unwrap();
        answer.json().await.unwrap()
    };
    sync().await;
    let secret: Value = app
        .anonymous("POST", "/api/v1/agent/pull-secret")
        .bearer_auth(token)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let secret = secret["password"].as_str().unwrap();
    let said = fails(&format!(
        "skopeo inspect {}",
        source(&app, "agent", secret, ":1.1.0")
    ));
    assert!(!said.contains("digest"), "it runs nothing yet: {said}");

    Fleet::create(&app).declare("ward", "tier: staging\nagent: cluster-1\ndriver: kubernetes\n");
    let wanted = until(
        "an instance for the cluster",
        Duration::from_secs(60),
        async || sync().await["instances"].as_array()?.first().cloned(),
    )
    .await;
    assert_eq!(
        (&wanted["driver"], &wanted["version"]),
        (&json!("kubernetes"), &json!("1.1.0"))
    );
    let archive = wanted["artifact"]["digest"]
        .as_str()
        .unwrap()
        .replace("sha256:", "archive-");
    let of = |reference: &str| source(&app, "agent", secret, reference);
    let own: Value =
        serde_json::from_str(&sh(&format!("skopeo inspect {}", of(&format!(":{archive}"))))).unwrap();
    assert_eq!(own["RepoTags"], json!(["1.1.0"]), "it sees no other");
    let said = fails(&format!("skopeo inspect {}", of(":1.0.0")));
    assert!(
        said.contains("manifest unknown") || said.contains("A tag is the version"),
        "{said}"
    );
    // It opens nothing but the registry.
    for path in [
        format!("/api/v1/projects/{PROJECT}/releases"),
        "/api/v1/agent/sync?revision=-1&wait=0".to_owned(),
    ] {
        let method = if path.contains("sync") { "POST" } else { "GET" };
        let answer = app
            .anonymous(method, &path)
            .bearer_auth(secret)
            .json(&report)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 401, "{path}");
    }
    // A removed agent's is of no use at once.
    let ping = async || {
        app.anonymous("GET", "/v2/")
            .basic_auth("agent", Some(secret))
            .send()
            .await
            .unwrap()
            .status()
    };
    assert_eq!(ping().await, 200);
    drop(app.cli().ok(&["agents", "remove", "cluster-1", "--force"]));
    assert_eq!(ping().await, 401);
}
