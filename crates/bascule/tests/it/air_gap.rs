//! A hub, and a site that no network reaches: two instances that meet by files alone.

use crate::{
    BIN,
    product::{self, PROJECT, release, rows},
};
use bascule_bundle::{Direction, Importer, Lane, Standing, Trust};
use bascule_core::{Clock as _, Name, SystemClock, dsse::Verify};
use bascule_ledger::PublicKey;
use bascule_testkit::{Git, TestApp, until};
use serde_json::Value;
use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

const SITE: &str = "clinic";

/// Both, each knowing the other's key, which went a way of its own.
struct Two {
    hub: TestApp,
    site: TestApp,
    /// What is carried.
    stick: tempfile::TempDir,
    product: Git,
}

fn trust(app: &TestApp, of: &TestApp, stick: &Path, how: &str) {
    let key = stick.join("key.pem");
    fs::write(&key, of.cli().ok(&["release", "key"])).unwrap();
    drop(
        app.cli()
            .ok(&["bundle", "trust", key.to_str().unwrap(), how, SITE]),
    );
}

fn declare(hub: &TestApp, text: &str) -> Git {
    drop(hub.cli().run(&["group", "create", "platform"]));
    drop(hub.cli().ok(&["project", "create", "platform/fleet"]));
    let git = Git::init();
    git.write(&format!("environments/{SITE}.yaml"), text);
    git.commit("Declare the clinic");
    drop(git.ok(&[
        "remote",
        "add",
        "origin",
        &hub.remote("platform/fleet", hub.token()),
    ]));
    drop(git.ok(&["push", "-q", "origin", "main"]));
    git
}

/// Lets each release hold a file that is the same in all of them.
fn same_in_each(git: &Git) {
    let ci = git.ok(&["show", "HEAD:.gitlab-ci.yml"]);
    git.write(
        ".gitlab-ci.yml",
        &ci.replace("paths: [app.tar.gz]", "paths: [app.tar.gz, README.md]"),
    );
    git.commit("Keep the readme");
}

impl Two {
    async fn start(hub: TestApp, site: TestApp) -> (Self, Git) {
        let stick = tempfile::tempdir().unwrap();
        trust(&site, &hub, stick.path(), "--as");
        trust(&hub, &site, stick.path(), "--of");
        let product = product::create(&hub);
        same_in_each(&product);
        release(&hub, &product, "1.0.0").await;
        let fleet = declare(
            &hub,
            &format!(
                "environment: {SITE}\ntier: staging\nnetwork: none\nvariables: {{ WARD: \"7\" }}\ninstall:\n  - product: {PROJECT}\n"
            ),
        );
        let two = Self {
            hub,
            site,
            stick,
            product,
        };
        two.offers("1.0.0").await;
        (two, fleet)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.stick.path().join(name)
    }

    /// Waits until the hub plans a version for the site, which it cannot put there itself.
    async fn offers(&self, version: &str) {
        until(
            &format!("the hub to plan {version}"),
            Duration::from_secs(60),
            async || {
                let plans = self.hub.cli().json(&["plan", "--in", SITE]);
                rows(&plans)
                    .into_iter()
                    .find(|line| line["target"] == version && line["state"] == "held")
            },
        )
        .await;
    }

    fn export(&self, name: &str, more: &[&str]) -> Value {
        let file = self.path(name);
        let args = ["bundle", "export", "--to", SITE, "-o", file.to_str().unwrap()];
        self.hub.cli().json(&[&args[..], more].concat())
    }

    fn import(&self, name: &str) -> Value {
        let file = self.path(name);
        self.site
            .cli()
            .json(&["bundle", "import", file.to_str().unwrap()])[0]
            .clone()
    }

    /// Brings a file that must be refused; returns the code.
    fn refused(&self, app: &TestApp, name: &str) -> String {
        let file = self.path(name);
        let (exit, said) = app
            .cli()
            .refused(&["bundle", "import", file.to_str().unwrap(), "--json"]);
        assert!(matches!(exit, 1 | 3), "{exit} {said}");
        let problem: Value = serde_json::from_str(said.trim()).unwrap_or_else(|e| panic!("{e}: {said}"));
        for part in ["title", "detail", "next"] {
            assert!(
                !problem[part].as_str().unwrap_or_default().is_empty(),
                "{part}: {problem}"
            );
        }
        problem["code"].as_str().unwrap().to_owned()
    }

    /// Waits until a version answers at the site.
    async fn serves(&self, version: &str) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        until(
            &format!("the site to serve {version}"),
            Duration::from_secs(90),
            async || {
                let list = self.site.cli().json(&["environment", "list", PROJECT]);
                let row = rows(&list).into_iter().find(|row| row["name"] == SITE)?;
                let url = row["url"].as_str()?.to_owned();
                let answer = client.get(url).send().await.ok()?.text().await.ok()?;
                (row["serving"]["version"] == version && answer == format!("hello {version}")).then_some(())
            },
        )
        .await;
    }

    /// Makes a report at the site and takes it at the hub.
    fn report(&self, name: &str) -> Value {
        let file = self.path(name);
        let file = file.to_str().unwrap();
        drop(self.site.cli().ok(&["bundle", "report", "-o", file]));
        self.hub.cli().json(&["bundle", "import", file])[0].clone()
    }

    fn status(&self) -> Value {
        let sites = self.hub.cli().json(&["bundle", "status"]);
        rows(&sites)
            .into_iter()
            .find(|line| line["site"] == SITE)
            .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_product_is_carried_to_a_site_runs_there_and_is_told_of() {
    let (two, _) = Two::start(TestApp::start_on_postgres(BIN), TestApp::start(BIN)).await;
    let made = two.export("first.bundle.tar", &[]);
    assert_eq!(
        (made["kind"].as_str(), made["sequence"].as_i64()),
        (Some("snapshot"), Some(1))
    );
    assert_eq!(made["releases"], serde_json::json!([format!("{PROJECT}@1.0.0")]));
    nothing_private(&two);

    let taken = two.import("first.bundle.tar");
    assert_eq!(
        taken["applied"][0]["releases"],
        serde_json::json!([format!("{PROJECT}@1.0.0")]),
        "{taken}"
    );
    two.serves("1.0.0").await;
    evidence(&two);
    assert_eq!(two.refused(&two.site, "first.bundle.tar"), "bundle_replayed");

    // What runs there is told, and the hub shows it.
    let heard = two.report("report.bundle.tar");
    assert_eq!(heard["kind"], "report");
    let told = two.status();
    assert_eq!(told["applied"], 1, "{told}");
    let install = &told["observed"]["installs"][0];
    assert_eq!(
        (install["version"].as_str(), install["health"].as_str()),
        (Some("1.0.0"), Some("healthy"))
    );
    until("the plan to know it", Duration::from_secs(40), async || {
        let plans = two.hub.cli().json(&["plan", "--in", SITE]);
        rows(&plans).into_iter().find(|line| line["current"] == "1.0.0")
    })
    .await;
    two.hub
        .page(&format!("/plans/{SITE}"))
        .await
        .shows("#carried", "bundle 1 in force");
    assert_eq!(two.refused(&two.hub, "report.bundle.tar"), "bundle_replayed");

    // The second release alone is carried, and no byte that the site has.
    product::write(&two.product, "1.1.0", "0");
    two.product.commit("Say hello better");
    same_in_each(&two.product);
    release(&two.hub, &two.product, "1.1.0").await;
    two.offers("1.1.0").await;
    let made = two.export("second.bundle.tar", &[]);
    assert_eq!(
        (made["kind"].as_str(), made["base"].as_i64()),
        (Some("incremental"), Some(1)),
        "{made}"
    );
    assert_eq!(made["releases"], serde_json::json!([format!("{PROJECT}@1.1.0")]));
    assert!(
        made["held"].as_u64().unwrap() > 0,
        "the readme is the same: {made}"
    );
    drop(two.import("second.bundle.tar"));
    two.serves("1.1.0").await;

    // A recall travels too; there is nothing newer, so the site holds what it may.
    drop(two.hub.cli().ok(&[
        "recall",
        PROJECT,
        "1.1.0",
        "--reason",
        "says too much",
        "--floor",
        "1.0.0",
    ]));
    drop(two.report("report-2.bundle.tar"));
    let made = two.export("third.bundle.tar", &[]);
    assert_eq!(
        (made["base"].as_i64(), made["releases"].as_array().map(Vec::len)),
        (Some(2), Some(0)),
        "{made}"
    );
    let taken = two.import("third.bundle.tar");
    assert_eq!(
        taken["applied"][0]["recalls"],
        serde_json::json!([format!("{PROJECT}@1.1.0")]),
        "{taken}"
    );
    two.serves("1.0.0").await;

    // So does its end. What was brought before does not stop what is new beside it.
    let lift = [
        "recall",
        PROJECT,
        "1.1.0",
        "--lift",
        "--reason",
        "it was the network",
    ];
    drop(two.hub.cli().ok(&lift));
    drop(two.report("report-3.bundle.tar"));
    drop(two.export("fourth.bundle.tar", &[]));
    let files = ["third.bundle.tar", "fourth.bundle.tar"].map(|name| two.path(name).display().to_string());
    let taken = two.site.cli().json(&["bundle", "import", &files[0], &files[1]]);
    assert_eq!(
        taken[0]["applied"][0]["recalls"],
        serde_json::json!([format!("{PROJECT}@1.1.0 (lifted)")]),
        "{taken}"
    );
    two.serves("1.1.0").await;
    for app in [&two.hub, &two.site] {
        assert!(app.cli().ok(&["ledger", "verify"]).starts_with("Clean"));
    }
    for (app, kind) in [
        (&two.hub, "bundle.exported"),
        (&two.hub, "site.reported"),
        (&two.site, "bundle.imported"),
        (&two.site, "release.imported"),
        (&two.site, "bundle.refused"),
    ] {
        assert!(
            !rows(&app.cli().json(&["ledger", "list", "--kind", kind])).is_empty(),
            "{kind}"
        );
    }
}

/// The release is the hub's at the site too: shown so, downloaded, and verified by the hub's key.
fn evidence(two: &Two) {
    let shown = two.site.cli().json(&["release", "show", PROJECT, "1.0.0"]);
    assert!(shown["pipeline"].is_null(), "{shown}");
    let origin = shown["origin"].as_str().unwrap();
    assert_eq!(shown["key_id"], origin);
    let folder = two.path("evidence");
    let folder = folder.to_str().unwrap();
    drop(
        two.site
            .cli()
            .ok(&["release", "download", PROJECT, "1.0.0", "--output", folder]),
    );
    let (key, own) = (two.path("hub.pem"), two.path("site.pem"));
    fs::write(&key, two.site.cli().ok(&["release", "key", origin])).unwrap();
    assert_eq!(
        fs::read_to_string(&key).unwrap(),
        two.hub.cli().ok(&["release", "key"])
    );
    fs::write(&own, two.site.cli().ok(&["release", "key"])).unwrap();
    let verify = |key: &Path| {
        two.site
            .cli()
            .run(&["release", "verify", folder, "--key", key.to_str().unwrap()])
    };
    assert!(verify(&key).status.success());
    assert_eq!(verify(&own).status.code(), Some(1), "the site did not make it");
    let components = &shown["components"];
    assert!(components.as_i64().unwrap() > 0, "{shown}");
}

/// Nothing of people, permissions, tokens or settings is in the file.
fn nothing_private(two: &Two) {
    let bytes = fs::read(two.path("first.bundle.tar")).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    for secret in [two.hub.token(), "admin.token", "bsc_"] {
        assert!(!text.contains(secret), "{secret} is in the bundle");
    }
    let inspected = two.hub.cli().json(&[
        "bundle",
        "inspect",
        two.path("first.bundle.tar").to_str().unwrap(),
    ]);
    let mut kinds: Vec<String> = rows(&inspected[0]["entries"])
        .iter()
        .map(|entry| entry["kind"].as_str().unwrap().to_owned())
        .collect();
    kinds.sort();
    kinds.dedup();
    assert_eq!(
        kinds,
        [
            "artifact",
            "desired_state",
            "provenance",
            "release",
            "release_manifest",
            "sbom"
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_refused_and_what_is_cut_goes_on() {
    let (mut two, fleet) = Two::start(TestApp::start(BIN), TestApp::start_on_postgres(BIN)).await;
    let site_cli = two.site.cli();
    drop(two.export("whole.bundle.tar", &[]));

    // One byte of an artifact; a cut; the wrong instance; an unknown hub.
    let whole = fs::read(two.path("whole.bundle.tar")).unwrap();
    let mut altered = whole.clone();
    let place = altered.len() / 2;
    altered[place] ^= 1;
    fs::write(two.path("altered.tar"), &altered).unwrap();
    let code = two.refused(&two.site, "altered.tar");
    assert!(
        matches!(code.as_str(), "bundle_tampered" | "bundle_hostile"),
        "{code}"
    );
    fs::write(two.path("cut.tar"), &whole[..whole.len() / 2]).unwrap();
    assert_eq!(two.refused(&two.site, "cut.tar"), "bundle_truncated");
    fs::write(two.path("text.tar"), vec![b'x'; 4_096]).unwrap();
    let code = two.refused(&two.site, "text.tar");
    assert!(
        matches!(code.as_str(), "bundle_not_a_bundle" | "bundle_hostile"),
        "{code}"
    );
    assert_eq!(two.refused(&two.hub, "whole.bundle.tar"), "bundle_untrusted_key");
    assert!(rows(&site_cli.json(&["bundle", "status"])).is_empty());
    let nobody = two
        .site
        .anonymous("POST", "/api/v1/bundles/imports")
        .body(whole.clone());
    assert_eq!(nobody.send().await.unwrap().status(), 401);

    // Killed while the file comes in: what was whole is kept, and the same file goes on from there.
    half(&two.site, &whole);
    two.site.kill();
    two.site.resume();
    let taken = two.import("whole.bundle.tar");
    assert_eq!(taken["applied"][0]["sequence"], 1, "{taken}");
    two.serves("1.0.0").await;

    // In pieces, in any order, and the later set first.
    let folder = two.path("pieces");
    fs::create_dir(&folder).unwrap();
    fleet.write(
        &format!("environments/{SITE}.yaml"),
        &format!("environment: {SITE}\ntier: staging\nnetwork: none\nvariables: {{ WARD: \"8\" }}\ninstall:\n  - product: {PROJECT}\n"),
    );
    fleet.commit("Another ward");
    drop(fleet.ok(&["push", "-q", "origin", "main"]));
    until("the new declaration", Duration::from_secs(30), async || {
        (rows(&two.hub.cli().json(&["ledger", "list", "--kind", "site.declared"])).len() > 1).then_some(())
    })
    .await;
    let made = two.export("pieces", &["--full", "--chunk", "12KiB"]);
    let files: Vec<String> = rows(&made["files"])
        .iter()
        .map(|file| format!("pieces/{}", file["name"].as_str().unwrap()))
        .collect();
    assert!(files.len() > 1, "{made}");
    let made = two.export("fourth.bundle.tar", &["--since", "2"]);
    assert_eq!(
        (made["sequence"].as_i64(), made["base"].as_i64()),
        (Some(3), Some(2))
    );
    let early = two.import("fourth.bundle.tar");
    assert_eq!(early["waits"], "sequence 3 waits for 2", "{early}");
    for file in files.iter().skip(1).rev() {
        assert!(
            two.import(file)["waits"]
                .as_str()
                .unwrap()
                .contains("waits for chunk")
        );
    }
    let status = two.site.cli().json(&["bundle", "status"]);
    let gathered = &status["gathered"];
    assert_eq!(gathered[0]["missing"], serde_json::json!([1]), "{status}");
    assert_eq!(rows(&gathered[0]["here"]).len(), files.len() - 1, "{status}");
    assert_eq!(gathered[1]["waits"], "sequence 3 waits for 2", "{status}");
    let told = two.site.cli().ok(&["bundle", "status"]);
    assert!(
        told.contains("waits for chunk 1") && !told.contains("(none)"),
        "{told}"
    );
    let last = two.import(&files[0]);
    let applied: Vec<i64> = rows(&last["applied"])
        .iter()
        .map(|set| set["sequence"].as_i64().unwrap())
        .collect();
    assert_eq!(applied, [2, 3], "{last}");
    assert_eq!(two.refused(&two.site, "whole.bundle.tar"), "bundle_replayed");

    // A checkpoint takes the place of all before it; what it overtook is stale.
    drop(two.export("late.bundle.tar", &["--full"]));
    drop(two.export("checkpoint.bundle.tar", &["--checkpoint"]));
    // The process dies between gathering and applying: it applies what it has when it starts again.
    two.site.kill();
    gather(&two, "checkpoint.bundle.tar");
    two.site.resume();
    until(
        "the checkpoint to be applied",
        Duration::from_secs(30),
        async || {
            let facts = rows(&site_cli.json(&["ledger", "list", "--kind", "bundle.imported"]));
            facts
                .into_iter()
                .find(|fact| fact["summary"].as_str().unwrap().contains("checkpoint 5"))
        },
    )
    .await;
    assert_eq!(two.refused(&two.site, "late.bundle.tar"), "bundle_stale");

    // What is for another site is refused here.
    fleet.write(
        "environments/harbour.yaml",
        "environment: harbour\nnetwork: none\ninstall: []\n",
    );
    fleet.commit("Declare the harbour");
    drop(fleet.ok(&["push", "-q", "origin", "main"]));
    let file = two.path("harbour.bundle.tar");
    let export = [
        "bundle",
        "export",
        "--to",
        "harbour",
        "-o",
        file.to_str().unwrap(),
    ];
    until("the harbour", Duration::from_secs(30), async || {
        two.hub.cli().run(&export).status.success().then_some(())
    })
    .await;
    assert_eq!(two.refused(&two.site, "harbour.bundle.tar"), "bundle_wrong_site");

    // A push at the site does not change what the hub declares there; and a key that is doubted is not believed.
    let own = Git::clone(&two.site.remote("platform/fleet", two.site.token()));
    own.write(
        &format!("environments/{SITE}.yaml"),
        &format!("environment: {SITE}\ninstall: []\n"),
    );
    own.commit("Take it over");
    drop(own.ok(&["push", "-q", "origin", "HEAD:main"]));
    let said = until("the refusal", Duration::from_secs(30), async || {
        rows(&site_cli.json(&["ledger", "list", "--kind", "site.refused"])).pop()
    })
    .await;
    assert!(
        said["summary"]
            .as_str()
            .unwrap()
            .contains("declared by the bundles of the hub"),
        "{said}"
    );
    let key = rows(&site_cli.json(&["bundle", "keys"]))[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    drop(site_cli.ok(&["bundle", "distrust", &key]));
    drop(two.export("sixth.bundle.tar", &["--full"]));
    assert_eq!(two.refused(&two.site, "sixth.bundle.tar"), "bundle_untrusted_key");
}

/// Takes a file into the site's staging area as its server does, and applies nothing.
fn gather(two: &Two, name: &str) {
    let key = PublicKey::from_pem(&two.hub.cli().ok(&["release", "key"])).unwrap();
    let lane = Lane::new(
        Name::new(SITE).unwrap(),
        Direction::ToSite,
        Trust::new([Arc::new(key) as Arc<dyn Verify>]),
        |_| true,
    );
    let folder = two.site.data().join(format!("bundles/to-{SITE}"));
    let mut importer = Importer::open(&folder, lane).unwrap();
    let file = fs::File::open(two.path(name)).unwrap();
    let progress = importer.accept(file, SystemClock.now()).unwrap();
    assert_eq!(progress.standing, Standing::Ready);
}

/// Sends a file but its end, and waits until more of it is kept than before.
fn half(app: &TestApp, bytes: &[u8]) {
    let address = app.url().trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST /api/v1/bundles/imports HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n",
        app.token(),
        bytes.len()
    )
    .unwrap();
    let blobs = app.data().join(format!("bundles/to-{SITE}/blobs"));
    let kept = || fs::read_dir(&blobs).map_or(0, Iterator::count);
    let before = kept();
    stream.write_all(&bytes[..bytes.len() - 600]).unwrap();
    stream.flush().unwrap();
    let started = std::time::Instant::now();
    while kept() <= before {
        assert!(started.elapsed() < Duration::from_secs(20), "nothing was kept");
        std::thread::yield_now();
    }
    stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    assert!(stream.read(&mut [0; 1]).is_err(), "it waits for the rest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_with_a_network_is_not_carried_and_keys_have_one_meaning() {
    let (hub, site) = (TestApp::start(BIN), TestApp::start_on_postgres(BIN));
    let stick = tempfile::tempdir().unwrap();
    drop(declare(&hub, &format!("environment: {SITE}\ninstall: []\n")));
    until("the declaration", Duration::from_secs(30), async || {
        rows(&hub.cli().json(&["ledger", "list", "--kind", "site.declared"])).pop()
    })
    .await;
    let out = stick.path().join("x.tar");
    let export = ["bundle", "export", "--to", SITE, "-o", out.to_str().unwrap()];
    let (exit, said) = hub.cli().refused(&export);
    assert!(exit == 3 && said.contains("network: none"), "{said}");
    let (_, said) = hub
        .cli()
        .refused(&["bundle", "export", "--to", "nowhere", "-o", out.to_str().unwrap()]);
    assert!(said.contains("There is no environment"), "{said}");
    let (exit, said) = site
        .cli()
        .refused(&["bundle", "report", "-o", out.to_str().unwrap()]);
    assert!(exit == 3 && said.contains("bascule bundle trust"), "{said}");
    trust(&site, &hub, stick.path(), "--as");
    let key = stick.path().join("key.pem");
    let (_, said) = site
        .cli()
        .refused(&["bundle", "trust", key.to_str().unwrap(), "--as", "other"]);
    assert!(said.contains("already"), "{said}");
    let (_, said) = hub
        .cli()
        .refused(&["bundle", "trust", key.to_str().unwrap(), "--of", SITE]);
    assert!(said.contains("this very instance"), "{said}");
    drop(site.cli().ok(&["bundle", "report", "-o", out.to_str().unwrap()]));
    let (_, said) = hub.cli().refused(&["bundle", "import", out.to_str().unwrap()]);
    assert!(said.contains("--of clinic"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn advisories_are_carried_and_the_site_matches_for_itself() {
    let (two, _) = Two::start(TestApp::start(BIN), TestApp::start(BIN)).await;
    drop(two.export("first.bundle.tar", &[]));
    drop(two.import("first.bundle.tar"));
    two.serves("1.0.0").await;
    let file = crate::advisories::advisory(two.stick.path(), 1, false);
    assert_eq!(two.hub.cli().json(&["advisory", "import", &file])["opened"], 1);
    drop(two.export("second.bundle.tar", &[]));
    drop(two.import("second.bundle.tar"));
    let found = until("the site's own finding", Duration::from_secs(30), async || {
        rows(&two.site.cli().json(&["finding", "list"])).first().cloned()
    })
    .await;
    assert_eq!(
        (&found["advisory"], &found["environments"]),
        (&serde_json::json!("GHSA-test-0001"), &serde_json::json!([SITE]))
    );
    // A newer state that the site got another way stays, whatever an older bundle says.
    let withdrawn = crate::advisories::advisory(two.stick.path(), 20, true);
    assert_eq!(
        two.site.cli().json(&["advisory", "import", &withdrawn])["closed"],
        1
    );
    drop(two.export("third.bundle.tar", &["--full"]));
    drop(two.import("third.bundle.tar"));
    let advisory = two.site.cli().json(&["advisory", "show", "GHSA-test-0001"]);
    assert!(advisory["withdrawn"].is_string(), "{advisory}");
}
