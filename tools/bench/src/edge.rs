//! Requests per second and latency of the edge against haproxy and nginx as plain reverse proxies.

use crate::{
    Result,
    platform::binary,
    process::{Server, cpu_seconds, free_address, nginx_user},
    report::{Goal, goals},
    size,
    stats::median,
    tell,
};
use bascule_core::{DeploymentId, EnvironmentId, InstanceId, ProjectId, ReleaseId};
use bascule_wire::edge::{Backend, EdgeConfig, Route};
use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

const ROUNDS: usize = 3;
const CONNECTIONS: &str = "64";

/// What one run of wrk found.
struct Run {
    per_second: f64,
    p50: f64,
    p99: f64,
    cpu_micros: f64,
}

struct Proxy {
    name: &'static str,
    address: SocketAddr,
    server: Server,
    runs: Vec<Run>,
}

fn pinned(core: &str, program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}

/// Both nginx roles share what keeps it inside its folder.
fn nginx_head(folder: &Path, name: &str) -> String {
    let folder = folder.display();
    format!(
        "daemon off; {} worker_processes 1; pid {folder}/{name}.pid;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 100000000;
  client_body_temp_path {folder}/{name}-body; fastcgi_temp_path {folder}/{name}-fastcgi;
  proxy_temp_path {folder}/{name}-proxy; uwsgi_temp_path {folder}/{name}-uwsgi; scgi_temp_path {folder}/{name}-scgi;
",
        nginx_user()
    )
}

fn nginx(folder: &Path, core: &str, name: &str, rest: &str, address: SocketAddr) -> Result<Server> {
    let config = folder.join(format!("{name}.conf"));
    std::fs::write(&config, format!("{}{rest}}}\n", nginx_head(folder, name)))?;
    let mut command = pinned(core, "nginx");
    command
        .arg("-e")
        .arg(folder.join(format!("{name}-error.log")))
        .arg("-c")
        .arg(config);
    Server::start(&mut command, &folder.join(format!("{name}.log")))?.at(address)
}

fn backend(folder: &Path) -> Result<(SocketAddr, Server)> {
    let address = free_address()?;
    let root = folder.join("root");
    std::fs::create_dir_all(&root)?;
    std::fs::write(root.join("index.html"), vec![b'x'; 1024])?;
    let rest = format!(
        "  open_file_cache max=10;\n  server {{ listen {address} backlog=1024; location / {{ root {}; }} }}\n",
        root.display()
    );
    Ok((address, nginx(folder, "1", "backend", &rest, address)?))
}

fn nginx_proxy(folder: &Path, backend: SocketAddr) -> Result<Proxy> {
    let address = free_address()?;
    let rest = format!(
        "  upstream app {{ server {backend}; keepalive 128; keepalive_requests 100000000; }}
  server {{ listen {address} backlog=1024; location / {{
    proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  }} }}
"
    );
    Ok(Proxy {
        name: "nginx",
        address,
        server: nginx(folder, "0", "proxy", &rest, address)?,
        runs: Vec::new(),
    })
}

fn haproxy(folder: &Path, backend: SocketAddr) -> Result<Proxy> {
    let address = free_address()?;
    let config = folder.join("haproxy.cfg");
    std::fs::write(
        &config,
        format!(
            "global
  nbthread 1
  maxconn 2000
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  http-reuse always
  option forwardfor
frontend front
  bind {address}
  default_backend app
backend app
  server one {backend}
"
        ),
    )?;
    let mut command = pinned("0", "haproxy");
    command.args(["-db", "-f"]).arg(config);
    let server = Server::start(&mut command, &folder.join("haproxy.log"))?.at(address)?;
    Ok(Proxy {
        name: "haproxy",
        address,
        server,
        runs: Vec::new(),
    })
}

fn bascule(folder: &Path, backend: SocketAddr) -> Result<Proxy> {
    let address = free_address()?;
    let routes = EdgeConfig {
        revision: 1,
        routes: vec![Route {
            environment: EnvironmentId::new(),
            project: ProjectId::new(),
            host: "production.app.bench".to_owned(),
            port: Some(address.port()),
            slow_ms: 300,
            backends: vec![Backend {
                instance: InstanceId::new(),
                deployment: DeploymentId::new(),
                release: ReleaseId::new(),
                version: "1.0.0".to_owned(),
                address: backend.to_string(),
                weight: 100,
            }],
        }],
    };
    let file = folder.join("routes.json");
    std::fs::write(&file, serde_json::to_vec(&routes)?)?;
    let program = binary();
    let mut command = pinned("0", &program.to_string_lossy());
    command.args(["edge", "--workers", "1", "--routes"]).arg(file);
    let server = Server::start(&mut command, &folder.join("edge.log"))?.at(address)?;
    Ok(Proxy {
        name: "bascule edge",
        address,
        server,
        runs: Vec::new(),
    })
}

/// Loads an address for some seconds. wrk keeps 64 connections busy, no more, and ends by itself.
fn wrk(address: SocketAddr, seconds: usize, pid: Option<u32>) -> Result<Run> {
    let before = pid.map_or(0.0, cpu_seconds);
    let output = pinned("1", "wrk")
        .args(["-t1", "-c", CONNECTIONS, "--latency", "--timeout", "10s"])
        .arg(format!("-d{seconds}s"))
        .arg(format!("http://{address}/"))
        .stdin(Stdio::null())
        .output()?;
    let used = pid.map_or(0.0, cpu_seconds) - before;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut run = read(&text).ok_or_else(|| format!("wrk at {address} said:\n{text}"))?;
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        return Err(format!("requests to {address} failed:\n{text}").into());
    }
    let requests: f64 = text
        .lines()
        .find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok())
        .unwrap_or(f64::NAN);
    run.cpu_micros = used * 1e6 / requests;
    Ok(run)
}

fn read(text: &str) -> Option<Run> {
    let after = |name: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(name).map(str::trim))
    };
    Some(Run {
        per_second: after("Requests/sec:")?.parse().ok()?,
        p50: milliseconds(after("50%")?)?,
        p99: milliseconds(after("99%")?)?,
        cpu_micros: f64::NAN,
    })
}

fn milliseconds(text: &str) -> Option<f64> {
    let units = [("us", 0.001), ("ms", 1.0), ("s", 1000.0)];
    units
        .iter()
        .find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor))
}

/// Measures the section.
pub fn measure() -> Result<String> {
    let seconds = size("BENCH_SECONDS", 10);
    let dir = tempfile::Builder::new().prefix("bascule-bench-edge-").tempdir()?;
    let (backend_address, _backend) = backend(dir.path())?;
    let mut proxies = vec![
        bascule(dir.path(), backend_address)?,
        haproxy(dir.path(), backend_address)?,
        nginx_proxy(dir.path(), backend_address)?,
    ];
    let direct = wrk(backend_address, seconds.min(5), None)?;
    for round in 0..=ROUNDS {
        proxies.rotate_left(1);
        for proxy in &mut proxies {
            // The first round only warms up.
            let run = wrk(
                proxy.address,
                if round == 0 { 2 } else { seconds },
                Some(proxy.server.pid()),
            )?;
            if round > 0 {
                tell(&format!(
                    "{}: {:.0} requests/s, p99 {:.2} ms",
                    proxy.name, run.per_second, run.p99
                ));
                proxy.runs.push(run);
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }
    proxies.sort_by_key(|proxy| proxy.name);
    Ok(text(seconds, &direct, &proxies))
}

fn text(seconds: usize, direct: &Run, proxies: &[Proxy]) -> String {
    let of = |name: &str, value: fn(&Run) -> f64| {
        let runs = proxies
            .iter()
            .find(|proxy| proxy.name == name)
            .map(|proxy| &proxy.runs);
        median(&runs.into_iter().flatten().map(value).collect::<Vec<_>>())
    };
    let mut text = format!(
        "## Edge\n\n`bench edge`: `taskset -c 1 wrk -t1 -c {CONNECTIONS} --latency -d{seconds}s URL`, {ROUNDS} rounds in turn \
         after a warm-up of 2 s each; medians of the rounds. Each proxy has core 0 alone (`taskset -c 0`, one worker or \
         thread); wrk and the backend (nginx, a file of 1 KiB) share core 1. `bascule edge --workers 1 --routes FILE` also \
         counts every request by version and keeps a latency histogram; haproxy and nginx write no access log. All keep \
         connections alive on both sides and add `X-Forwarded-For`. Without a proxy the backend answers {:.0} requests/s \
         (p99 {:.2} ms). Latency is that of a closed loop of {CONNECTIONS} connections at full load.\n\n\
         | Proxy | Requests/s | p50 (ms) | p99 (ms) | CPU of the proxy (µs/request) | Requests/s of each round |\n|---|---|---|---|---|---|\n",
        direct.per_second, direct.p99
    );
    for proxy in proxies {
        let all: Vec<String> = proxy
            .runs
            .iter()
            .map(|run| format!("{:.0}", run.per_second))
            .collect();
        let name = proxy.name;
        let _ = writeln!(
            text,
            "| {name} | {:.0} | {:.2} | {:.2} | {:.1} | {} |",
            of(name, |run| run.per_second),
            of(name, |run| run.p50),
            of(name, |run| run.p99),
            of(name, |run| run.cpu_micros),
            all.join(", ")
        );
    }
    text.push('\n');
    let mut list = Vec::new();
    for peer in ["haproxy", "nginx"] {
        let throughput = of("bascule edge", |run| run.per_second) / of(peer, |run| run.per_second);
        let latency = of("bascule edge", |run| run.p99) / of(peer, |run| run.p99);
        if peer == "haproxy" {
            list.push(Goal {
                goal: "edge: at least 0.7 of haproxy's requests/s".to_owned(),
                measured: format!("{throughput:.2}"),
                met: throughput >= 0.7,
            });
            list.push(Goal {
                goal: "edge: p99 within 1.5 times haproxy's".to_owned(),
                measured: format!("{latency:.2}"),
                met: latency <= 1.5,
            });
        } else {
            let _ = write!(
                text,
                "Against nginx: {throughput:.2} of its requests/s, {latency:.2} times its p99.\n\n"
            );
        }
    }
    text + &goals(&list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says_is_read() {
        let text = "Running 10s test @ http://127.0.0.1:1/\n  Latency Distribution\n     50%  812.00us\n     75%    1.50ms\n     \
                    90%    2.00ms\n     99%    1.20s \n  90210 requests in 10.00s, 9MB read\nRequests/sec:   9021.00\n";
        let run = read(text).unwrap();
        assert!((run.per_second - 9021.0).abs() < 1e-9);
        assert!((run.p50 - 0.812).abs() < 1e-9);
        assert!((run.p99 - 1200.0).abs() < 1e-9);
    }
}
