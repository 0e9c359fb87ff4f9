//! How the cluster gets images: from the server's own registry, by a secret that opens nothing else.

use super::{Cluster, faults::Fault, objects};
use bascule_client::{Client, Method, Retry};
use bascule_core::Problem;
use bascule_wire::agent::{ArtifactSource, PullSecret};
use k8s_openapi::api::core::v1::Secret;
use std::{collections::BTreeSet, time::Duration};
use tokio::sync::Mutex;

/// Time for the server to read an image that was never pulled before.
const READING: Duration = Duration::from_secs(120);

/// What is needed to pull.
#[derive(Debug)]
pub(super) struct Pull {
    hub: Client,
    /// Where nodes pull; the server's own address where none was given.
    registry: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    secret: Option<PullSecret>,
    /// Namespaces that hold it.
    placed: BTreeSet<String>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("placed", &self.placed)
            .finish_non_exhaustive()
    }
}

impl Pull {
    pub(super) fn new(hub: Client, registry: Option<String>) -> Self {
        let base = hub.base();
        let host = base.host_str().unwrap_or_default();
        let own = base
            .port()
            .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        Self {
            registry: registry.unwrap_or(own),
            hub,
            state: Mutex::default(),
        }
    }
}

impl Cluster {
    /// The image in an artifact, by its digest. The server reads where in the artifact it lies; this agent fetches
    /// none of it.
    pub(super) async fn image(&self, project: &str, artifact: &ArtifactSource) -> Result<String, Fault> {
        let Pull { hub, registry, .. } = &self.pull;
        let secret = self.secret().await?;
        let path = format!("/v2/{project}/manifests/archive-{}", artifact.digest.hex());
        let hub = hub.clone().with_token(Some(secret.password));
        let asked = hub
            .request(Method::GET, &path)
            .retry(Retry::NONE)
            .timeout(READING)
            .send_raw()
            .await;
        let answer = asked.map_err(|problem| later(&problem))?;
        let status = answer.status().as_u16();
        if status == 401 {
            // Another agent of this name got one since, or the server has another database.
            *self.pull.state.lock().await = State::default();
        }
        if status >= 400 {
            let told: serde_json::Value = answer.json().await.unwrap_or_default();
            let why = told["errors"][0]["message"]
                .as_str()
                .unwrap_or("it does not say why")
                .to_owned();
            return Err(Fault {
                for_now: status != 404,
                words: format!("The server gives no image for it ({status}): {why}"),
            });
        }
        let digest = answer
            .header("docker-content-digest")
            .unwrap_or_default()
            .to_owned();
        let bytes = answer.text().await.map_err(|problem| later(&problem))?;
        // What is run is what this digest says, wherever the bytes come from.
        if bascule_core::Digest::of(bytes.as_bytes()).to_string() != digest {
            return Err(Fault {
                for_now: true,
                words: "The server's image is not what its digest says.".to_owned(),
            });
        }
        Ok(format!("{registry}/{project}@{digest}"))
    }

    /// Puts the secret into a namespace.
    pub(super) async fn place_secret(&self, namespace: &str) -> Result<(), Fault> {
        let secret = self.secret().await?;
        let mut state = self.pull.state.lock().await;
        if state.placed.contains(namespace) {
            return Ok(());
        }
        let object = objects::pull_secret(
            &self.pull.registry,
            &secret.username,
            &secret.password,
            &self.server,
        );
        self.apply::<Secret>(namespace, "The pull secret cannot be made", &object)
            .await?;
        state.placed.insert(namespace.to_owned());
        Ok(())
    }

    async fn secret(&self) -> Result<PullSecret, Fault> {
        let mut state = self.pull.state.lock().await;
        if let Some(secret) = &state.secret {
            return Ok(secret.clone());
        }
        let request = self
            .pull
            .hub
            .request(Method::POST, "/api/v1/agent/pull-secret")
            .retry(Retry::NONE);
        let answer = request
            .timeout(Duration::from_secs(20))
            .send()
            .await
            .map_err(|problem| later(&problem))?;
        let secret: PullSecret = answer.json().await.map_err(|problem| later(&problem))?;
        state.placed.clear();
        state.secret = Some(secret.clone());
        Ok(secret)
    }
}

fn later(problem: &Problem) -> Fault {
    Fault {
        for_now: true,
        words: crate::instance::in_words(problem),
    }
}
