//! What unit tests share.

use bascule_core::{DeploymentId, Digest, EnvironmentId, InstanceId, ReleaseId};
use bascule_wire::agent::{ArtifactSource, DesiredInstance, HealthCheck, Limits};
use std::collections::BTreeMap;

/// An instance that could be desired.
pub(crate) fn desired() -> DesiredInstance {
    DesiredInstance {
        instance: InstanceId::new(),
        deployment: DeploymentId::new(),
        environment: EnvironmentId::new(),
        project: "demo/clinic".to_owned(),
        environment_name: "production".to_owned(),
        release: ReleaseId::new(),
        version: "1.0.0".to_owned(),
        driver: bascule_wire::agent::Driver::Process,
        artifact: ArtifactSource {
            path: "/artifact".to_owned(),
            digest: Digest::of(b""),
            size: 0,
            file_name: "a.tar.gz".to_owned(),
        },
        command: "python3 server.py".to_owned(),
        variables: BTreeMap::new(),
        health: HealthCheck {
            path: "/health".to_owned(),
            interval_ms: 100,
            timeout_ms: 1000,
            start_ms: 5000,
        },
        smoke: Vec::new(),
        limits: Limits {
            memory_bytes: 256 * 1024 * 1024,
            pids: 64,
        },
        drain_ms: None,
    }
}
