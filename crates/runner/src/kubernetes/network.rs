//! What a job's pod reaches, as a network policy: nothing reaches it, and it reaches the server and names, mirrors where
//! it may, and all but the machine's own and link-local addresses where its network is open.

use super::{JOB_LABEL, pod::NAME_LABEL};
use crate::{Config, ground::Reach, way_out};
use serde_json::{Value, json};
use std::{collections::BTreeSet, net::IpAddr};
use tokio::net::lookup_host;
use url::Url;

/// The policy of one job. Names are looked up as it is made: a policy speaks of addresses alone.
pub(super) async fn policy(config: &Config, reach: Reach, name: &str, key: &str, labels: &Value) -> Value {
    let mut hosts: Vec<(String, Option<u16>)> = Vec::new();
    if let Ok(url) = Url::parse(&config.url)
        && let Some(host) = url.host_str()
    {
        hosts.push((host.to_owned(), url.port_or_known_default()));
    }
    if let Some(store) = &config.cache_s3
        && let Ok(url) = Url::parse(&store.endpoint)
        && let Some(host) = url.host_str()
    {
        hosts.push((host.to_owned(), url.port_or_known_default()));
    }
    if reach == Reach::Mirrors {
        hosts.extend(config.network_mirrors.iter().map(|text| way_out::place(text)));
    }
    let mut found: BTreeSet<(IpAddr, Option<u16>)> = BTreeSet::new();
    for (host, port) in hosts {
        match lookup_host((host.trim_matches(['[', ']']), port.unwrap_or(443))).await {
            Ok(all) => found.extend(all.map(|address| (address.ip(), port))),
            Err(error) => {
                tracing::warn!(host, %error, "a host that jobs may reach is not found; name its range in `network_egress`");
            }
        }
    }
    rules(config, reach, &found, name, key, labels)
}

fn rules(
    config: &Config,
    reach: Reach,
    found: &BTreeSet<(IpAddr, Option<u16>)>,
    name: &str,
    key: &str,
    labels: &Value,
) -> Value {
    let port = |protocol: &str, port: u16| json!({ "protocol": protocol, "port": port });
    // Names are looked up wherever the cluster answers for them.
    let mut egress = vec![json!({ "ports": [port("UDP", 53), port("TCP", 53)] })];
    for (address, only) in found {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let mut rule = json!({ "to": [{ "ipBlock": { "cidr": format!("{address}/{bits}") } }] });
        if let Some(only) = only {
            rule["ports"] = json!([port("TCP", *only)]);
        }
        egress.push(rule);
    }
    for range in &config.kubernetes.network_egress {
        egress.push(json!({ "to": [{ "ipBlock": { "cidr": range } }] }));
    }
    if reach == Reach::Open {
        let (six, four): (Vec<&String>, Vec<&String>) = config
            .kubernetes
            .network_except
            .iter()
            .partition(|range| range.contains(':'));
        egress.push(json!({ "to": [
            { "ipBlock": { "cidr": "0.0.0.0/0", "except": four } },
            { "ipBlock": { "cidr": "::/0", "except": six } },
        ]}));
    }
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": { "name": name, "labels": labels },
        "spec": {
            "podSelector": { "matchLabels": { JOB_LABEL: key, NAME_LABEL: "job" } },
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [],
            "egress": egress,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_reaches_the_server_and_what_its_network_says() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new("https://192.0.2.1:8443", "t", dir.path());
        config.network_mirrors = vec!["192.0.2.7:5000".to_owned()];
        config.kubernetes.network_egress = vec!["198.51.100.0/24".to_owned()];
        let mut blocks = Vec::new();
        for reach in [Reach::Nothing, Reach::Mirrors, Reach::Open] {
            let policy = policy(&config, reach, "n", "k", &json!({})).await;
            assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
            assert_eq!(policy["spec"]["ingress"], json!([]));
            let egress = policy["spec"]["egress"].as_array().unwrap().clone();
            let all: Vec<String> = egress
                .iter()
                .flat_map(|rule| rule["to"].as_array().cloned().unwrap_or_default())
                .map(|to| to["ipBlock"]["cidr"].as_str().unwrap().to_owned())
                .collect();
            blocks.push(all);
        }
        assert_eq!(blocks[0], ["192.0.2.1/32", "198.51.100.0/24"]);
        assert_eq!(blocks[1], ["192.0.2.1/32", "192.0.2.7/32", "198.51.100.0/24"]);
        assert_eq!(
            blocks[2],
            ["192.0.2.1/32", "198.51.100.0/24", "0.0.0.0/0", "::/0"]
        );
    }
}
