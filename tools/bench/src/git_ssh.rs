//! Clone, fetch and push over SSH against plain sshd, and memory while many clone. A part of the section
//! `git`: the same repository, the same run.

use crate::{
    Result,
    git::{Times, fetch, table, timed},
    platform::{Platform, git},
    process::{Server, free_address, resident_mib},
    report::Goal,
    size,
    stats::median,
    tell,
};
use serde_json::json;
use std::{
    net::SocketAddr,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

const ROUNDS: usize = 5;

/// A key, and the setting that makes git use it and nothing of this machine's.
pub struct Key {
    file: PathBuf,
    setting: String,
}

impl Key {
    fn make(folder: &Path) -> Result<Self> {
        let file = folder.join("bench-key");
        run(Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&file))?;
        let setting = format!(
            "core.sshCommand=ssh -F none -i {} -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=no \
             -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
            file.display()
        );
        Ok(Self { file, setting })
    }

    fn public(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.file.with_extension("pub"))?
            .trim()
            .to_owned())
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
}

/// Plain sshd with nothing but this key.
struct Sshd {
    repositories: PathBuf,
    address: SocketAddr,
    user: String,
    _server: Server,
}

impl Sshd {
    /// Nothing where there is no sshd on this machine.
    fn start(folder: &Path, key: &Key) -> Result<Option<Self>> {
        let program = Path::new("/usr/sbin/sshd");
        if !program.exists() {
            return Ok(None);
        }
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        if rustix::process::geteuid().is_root() {
            std::fs::create_dir_all("/run/sshd")?;
        }
        let repositories = folder.join("repositories");
        std::fs::create_dir_all(&repositories)?;
        let host_key = folder.join("host-key");
        run(Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&host_key))?;
        let keys = folder.join("authorized_keys");
        std::fs::write(&keys, key.public()? + "\n")?;
        let address = free_address()?;
        let config = folder.join("sshd_config");
        std::fs::write(
            &config,
            format!(
                "Port {}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
                 PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
                 AcceptEnv GIT_PROTOCOL\nMaxStartups 200\nUseDNS no\n",
                address.port(),
                host_key.display(),
                keys.display()
            ),
        )?;
        let server = Server::start(
            Command::new(program).args(["-D", "-e", "-f"]).arg(&config),
            &folder.join("sshd.log"),
        )?
        .at(address)?;
        let user = Command::new("id").arg("-un").output()?.stdout;
        Ok(Some(Self {
            repositories,
            address,
            user: String::from_utf8_lossy(&user).trim().to_owned(),
            _server: server,
        }))
    }

    fn url(&self, name: &str) -> String {
        format!(
            "ssh://{}@127.0.0.1:{}{}/{name}.git",
            self.user,
            self.address.port(),
            self.repositories.display()
        )
    }

    /// An empty repository that checks objects as Bascule does.
    fn create(&self, name: &str) -> Result<String> {
        let folder = self.repositories.join(format!("{name}.git"));
        std::fs::create_dir_all(&folder)?;
        git(&folder, &["init", "-q", "--bare"])?;
        for (setting, value) in [("receive.autogc", "false"), ("receive.fsckObjects", "true")] {
            git(&folder, &["config", setting, value])?;
        }
        Ok(self.url(name))
    }
}

/// Measures; the text and the goals.
pub async fn measure(
    dir: &Path,
    source: &Path,
    old: &Path,
    platform: &Platform,
) -> Result<(String, Vec<Goal>)> {
    let key = Key::make(dir)?;
    let body = json!({ "key": key.public()?, "title": "bench" });
    platform.post("/api/v1/user/keys", &body).await?;
    let ssh = platform.get("/api/v1/ssh").await?;
    let port = ssh["port"].as_u64().ok_or("git over SSH is off")?;
    let ours = |path: &str| format!("ssh://git@127.0.0.1:{port}/{path}.git");
    let sshd = Sshd::start(&dir.join("sshd"), &key)?;
    let with = ["-c", key.setting.as_str()];
    let (mut push, mut clone, mut fetched) = (Times::default(), Times::default(), Times::default());
    for round in 0..=ROUNDS {
        platform.create_project("bench", &format!("ssh{round}")).await?;
        let mut sides = vec![(true, ours(&format!("bench/ssh{round}")))];
        if let Some(sshd) = &sshd {
            sides.push((false, sshd.create(&format!("push{round}"))?));
        }
        let turns = sides.len();
        sides.rotate_left(round % turns);
        for (is_ours, url) in &sides {
            let took = timed(
                source,
                &[&with[..], &["push", "-q", url, "main", "--tags"]].concat(),
            )?;
            push.add(round, *is_ours, took);
            let clone_of = &[&with[..], &["clone", "-q", "--bare", url, "ssh-clone.git"]].concat();
            clone.add(round, *is_ours, timed(dir, clone_of)?);
            std::fs::remove_dir_all(dir.join("ssh-clone.git"))?;
            fetched.add(round, *is_ours, fetch(dir, old, &with, url)?);
        }
        tell(&format!("ssh round {round} of {ROUNDS} done"));
    }
    let rows = [
        ("push", &push),
        ("clone", &clone),
        ("fetch of 1,000 commits", &fetched),
    ];
    let mut text = String::from(
        "\n### Over SSH\n\nThe same repository and commands, over SSH with one ed25519 key; the baseline is OpenSSH's sshd \
         with stock git behind it, objects checked.\n\n",
    );
    let mut goals = Vec::new();
    if sshd.is_some() {
        text.push_str(&table(&rows, "bascule", "sshd"));
        for (name, times) in rows {
            let ratio = times.ratio();
            goals.push(Goal {
                goal: format!("{name} over SSH within 1.1 of plain sshd"),
                measured: format!("{ratio:.2}"),
                met: ratio <= 1.1,
            });
        }
    } else {
        text.push_str("No sshd on this machine, so there is nothing to compare with: `apt-get install openssh-server`.\n\n");
        text.push_str(&table(&rows, "bascule", ""));
    }
    let many = size("BENCH_CLONES", 50);
    let url = ours("bench/ssh1");
    let (idle, busy, took) = memory(dir, platform, &key, &url, many)?;
    text.push_str(&format!(
        "\nMemory of the server's own process: {idle:.0} MiB idle, at most {busy:.0} MiB while {many} clones over SSH ran at \
         once ({took:.1} s for all of them).\n"
    ));
    Ok((text, goals))
}

/// Resident memory idle, and the most while many clone at once; how long these took.
fn memory(dir: &Path, platform: &Platform, key: &Key, url: &str, many: usize) -> Result<(f64, f64, f64)> {
    let pid = platform.pid();
    let idle = resident_mib(pid);
    let stop = Arc::new(AtomicBool::new(false));
    let watching = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            let mut most = 0.0_f64;
            while !stop.load(Ordering::Relaxed) {
                most = most.max(resident_mib(pid));
                std::thread::sleep(Duration::from_millis(20));
            }
            most
        })
    };
    let begun = Instant::now();
    let mut children = Vec::new();
    for n in 0..many {
        let into = dir.join(format!("many-{n}.git"));
        let child = Command::new("git")
            .args(["-c", &key.setting, "clone", "-q", "--bare", url])
            .arg(&into)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .stdin(Stdio::null())
            .spawn()?;
        children.push((child, into));
    }
    let mut failed = 0;
    for (mut child, into) in children {
        if !child.wait()?.success() {
            failed += 1;
        }
        drop(std::fs::remove_dir_all(into));
    }
    let took = begun.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    let busy = watching.join().map_err(|_| "the watch on memory panicked")?;
    if failed > 0 {
        return Err(format!("{failed} of {many} clones failed").into());
    }
    Ok((idle, busy, took))
}

impl Times {
    /// Keeps a measurement; the first round only warms the caches.
    pub fn add(&mut self, round: usize, ours: bool, took: f64) {
        if round > 0 {
            if ours {
                self.ours.push(took);
            } else {
                self.theirs.push(took);
            }
        }
    }

    /// Ours against theirs, by medians.
    pub fn ratio(&self) -> f64 {
        median(&self.ours) / median(&self.theirs)
    }
}
