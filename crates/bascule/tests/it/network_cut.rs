//! A site whose link to the hub is cut for the whole of a rollout. Hub and site each have a network namespace, with
//! one cable between them; the test runs itself in the hub's. Nothing of it is seen or reached from outside, and
//! all of it is gone with its processes.

use crate::{
    BIN,
    fleet::{self, Fleet, PROJECT, Part, SITE, Version, environment, facts, rollout, serves, sh},
};
use bascule_testkit::{TestApp, until};
use serde_json::Value;
use std::{
    io::Write as _,
    process::{Child, Command, Stdio},
    time::Duration,
};

const INSIDE: &str = "BASCULE_TEST_NETWORK";
const HUB: &str = "10.77.0.1";
/// Where the site's edge serves, and under which name.
const EDGE: &str = "127.0.0.1:18000";
const HOST: &str = "site-7.hello.demo.test";

/// Users in the site: four that ask one after the other until they are told to stop, and count.
const USERS: &str = r#"
import json, sys, threading, time, urllib.request
url, asked, lost, stop = sys.argv[1], [0], [], threading.Event()
ask = urllib.request.Request(url, headers={"Host": sys.argv[2]})
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
def user():
    while not stop.is_set():
        asked[0] += 1
        try:
            body = opener.open(ask, timeout=20).read()
            if not body.startswith(b"hello "): lost.append(body.decode())
        except Exception as error:
            lost.append(repr(error))
        time.sleep(0.05)
all = [threading.Thread(target=user) for _ in range(4)]
for one in all: one.start()
sys.stdin.readline()
stop.set()
for one in all: one.join()
print(json.dumps({"asked": asked[0], "lost": lost}), flush=True)
"#;

/// The site's network, held by a process that does nothing.
struct Network {
    holder: Child,
    pid: String,
}

impl Network {
    fn new() -> Self {
        sh("ip link set lo up");
        let holder = Command::new("unshare")
            .args([
                "-n",
                "sh",
                "-c",
                "ip link set lo up && echo ready && exec sleep 3600",
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = holder.id().to_string();
        let mut network = Self { holder, pid };
        let mut said = std::io::BufReader::new(network.holder.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut said, &mut String::new()).unwrap();
        sh(&format!(
            "ip link add to-site type veth peer name to-hub netns {}
             ip addr add {HUB}/24 dev to-site; ip link set to-site up
             {} ip addr add 10.77.0.2/24 dev to-hub; {} ip link set to-hub up",
            network.pid,
            network.within().join(" "),
            network.within().join(" "),
        ));
        network
    }

    /// What stands before a command that runs in the site.
    fn within(&self) -> [&str; 4] {
        ["nsenter", "-n", "-t", &self.pid]
    }

    fn cut() {
        sh("ip link set to-site down");
    }

    fn mend() {
        sh("ip link set to-site up");
    }

    fn users(&self) -> Users {
        let child = Command::new("nsenter")
            .args(&self.within()[1..])
            .args(["python3", "-c", USERS, &format!("http://{EDGE}/"), HOST])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Users(child)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

struct Users(Child);

impl Users {
    fn nothing_lost(mut self, of_at_least: u64) {
        writeln!(self.0.stdin.take().unwrap()).unwrap();
        let output = self.0.wait_with_output().unwrap();
        let counted: Value = serde_json::from_slice(&output.stdout).unwrap();
        let (asked, lost) = (
            counted["asked"].as_u64().unwrap(),
            counted["lost"].as_array().unwrap(),
        );
        assert!(asked >= of_at_least, "only {asked} requests");
        assert!(
            lost.is_empty(),
            "{} of {asked} lost, such as {}",
            lost.len(),
            lost[0]
        );
        fleet::note(&format!("{asked} requests in the site, none lost"));
    }
}

#[test]
fn a_site_cut_off_for_a_whole_rollout_serves_on_and_nothing_is_done_twice_or_lost() {
    let possible = Command::new("unshare")
        .args(["-n", "ip", "link", "set", "lo", "up"])
        .output();
    if !possible.as_ref().is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: no network namespace can be made here (run as root, with iproute2): {possible:?}");
        return;
    }
    let output = Command::new("unshare")
        .arg("-n")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "network_cut::inside", "--ignored", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{said}");
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

async fn online(app: &TestApp, is: bool) {
    let what = format!("the agent to be online: {is}");
    until(&what, Duration::from_secs(60), async || {
        let all = app.json("/api/v1/agents").await;
        let all = all.as_array()?;
        let agent = all.iter().find(|m| m["name"] == SITE && m["kind"] == "agent")?;
        (agent["online"] == is).then_some(())
    })
    .await;
}

/// Steps that a version's rollout took: each once, each higher.
fn steps(app: &TestApp, version: &str) -> Vec<u32> {
    let begins = format!("gives {version} ");
    let steps: Vec<u32> = facts(app, "rollout.stepped")
        .iter()
        .filter(|step| step.starts_with(&begins))
        .filter_map(|step| step.split(' ').nth(2)?.parse().ok())
        .collect();
    assert!(steps.is_sorted_by(|a, b| a < b), "{version}: {steps:?}");
    steps
}

fn deployments(app: &TestApp, version: &str) -> usize {
    let line = format!("deploys {version} to {SITE}");
    facts(app, "deployment.created")
        .iter()
        .filter(|fact| **fact == line)
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the test above runs it in a network of its own"]
async fn inside() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    let network = Network::new();
    let app = TestApp::start_on(BIN, &format!("{HUB}:0"));
    let git = fleet::create(&app);
    let data = tempfile::tempdir().unwrap();
    let code = fleet::code(&app, "agents", SITE);
    let within = network.within();
    let agent_data = data.path().join("agent");
    let _agent = Part::spawn(&within, app.url(), "agent", &agent_data, Some(&code));
    let code = fleet::code(&app, "edges", SITE);
    let listen = format!("BASCULE_EDGE_LISTEN={EDGE}");
    let before = [&within[..], &["env", &listen]].concat();
    let _edge = Part::spawn(&before, app.url(), "edge", &data.path().join("edge"), Some(&code));
    online(&app, true).await;
    let release = async |number: &str| {
        let version = Version {
            rollout: "{ steps: [25, 50, 100], step: 2s, slice: 1s, max: 20s }",
            ..Version::new(number)
        };
        version.release(&app, &git).await;
    };
    Fleet::create(&app).declare(SITE, &format!("agent: {SITE}\n"));
    release("1.0.0").await;
    serves(&app, SITE, "1.0.0").await;
    until("the site's edge to serve", Duration::from_secs(30), async || {
        let script = "import sys, urllib.request as u; u.urlopen(u.Request(sys.argv[1], headers={'Host': sys.argv[2]}), timeout=5)";
        let mut ask = Command::new("nsenter");
        ask.args(&within[1..]).args(["python3", "-c", script, &format!("http://{EDGE}/"), HOST]);
        ask.output().ok()?.status.success().then_some(())
    })
    .await;

    // Cut when the new version has its first users, until long after the rollout would have ended.
    let users = network.users();
    release("1.1.0").await;
    let first = until("the rollout to begin", Duration::from_secs(60), async || {
        rollout(&app)
            .await
            .filter(|r| r["version"] == "1.1.0" && r["weight"] == 25)
    })
    .await;
    Network::cut();
    online(&app, false).await;
    // Longer than the steps' longest time: 20 s.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let meanwhile = rollout(&app).await.unwrap();
    assert_eq!(meanwhile["id"], first["id"]);
    assert!(meanwhile["finished_at"].is_null(), "it waits: {meanwhile}");
    println!(
        "cut off: {} at {} %, {}",
        meanwhile["status"], meanwhile["weight"], meanwhile["reason"]
    );
    let told = environment(&app, SITE).await.unwrap();
    assert_eq!(told["agent_online"], false);
    Network::mend();
    online(&app, true).await;
    serves(&app, SITE, "1.1.0").await;
    assert_eq!(steps(&app, "1.1.0").first(), Some(&25));
    assert_eq!(deployments(&app, "1.1.0"), 1);

    // Cut before the release comes: it waits, and is caught up with.
    Network::cut();
    online(&app, false).await;
    release("1.2.0").await;
    let why = until(
        "the plan to say what it waits for",
        Duration::from_secs(40),
        async || {
            let plans = app.cli().json(&["plan", "--in", SITE]);
            let why = plans.as_array()?.first()?["why"].as_str()?.to_owned();
            (why.contains("agent") || deployments(&app, "1.2.0") == 1).then_some(why)
        },
    )
    .await;
    println!("released while cut off: {why}");
    assert_eq!(
        environment(&app, SITE).await.unwrap()["serving"]["version"],
        "1.1.0"
    );
    Network::mend();
    serves(&app, SITE, "1.2.0").await;
    steps(&app, "1.2.0");
    assert_eq!(deployments(&app, "1.2.0"), 1);
    let created = facts(&app, "rollout.started");
    assert_eq!(created.len(), 2, "{PROJECT}: {created:?}");
    users.nothing_lost(500);
    assert!(app.cli().ok(&["ledger", "verify"]).starts_with("Clean"));
}
