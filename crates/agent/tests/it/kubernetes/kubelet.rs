//! What makes pods of Deployments and Jobs, runs them, and ends them.

use super::cluster::{Key, State, key_of, pod_status, running};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::net::TcpListener;

/// Makes pods of Deployments and Jobs, runs them, and ends them.
pub async fn controllers(state: Arc<State>) {
    let mut changes = state.changed.subscribe();
    loop {
        changes.mark_unchanged();
        let (mut fresh, mut going) = (Vec::new(), Vec::new());
        {
            let inner = state.inner.lock().unwrap();
            let owner = |key: &Key| matches!(key.0.as_str(), "deployments" | "jobs");
            for (key, object) in inner.objects.iter().filter(|(key, _)| owner(key)) {
                let has = inner.objects.iter().any(|(pod, one)| {
                    pod.0 == "pods"
                        && one["metadata"]["ownerReferences"][0]["uid"] == object["metadata"]["uid"]
                });
                if !has {
                    fresh.push((key.clone(), object.clone()));
                }
            }
            for (key, pod) in inner.objects.iter().filter(|(key, _)| key.0 == "pods") {
                let owned = &pod["metadata"]["ownerReferences"][0]["uid"];
                let stands = inner
                    .objects
                    .iter()
                    .any(|(key, one)| owner(key) && one["metadata"]["uid"] == *owned);
                if !stands {
                    going.push(key.clone());
                }
            }
        }
        for (key, object) in fresh {
            begin(&state, &key, &object).await;
        }
        for key in going {
            end(&state, &key).await;
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn begin(state: &Arc<State>, owner: &Key, object: &Value) {
    let (status, page, address) = {
        let inner = state.inner.lock().unwrap();
        let variables = inner
            .objects
            .get(&("secrets".to_owned(), owner.1.clone(), owner.2.clone()));
        let variable = |name: &str| {
            let text = variables
                .and_then(|secret| secret["data"][name].as_str())
                .unwrap_or_default();
            String::from_utf8(STANDARD.decode(text).unwrap()).unwrap()
        };
        let page = format!(
            "version {} in {}",
            variable("VERSION"),
            variable("BASCULE_ENVIRONMENT")
        );
        let service = inner
            .objects
            .get(&("services".to_owned(), owner.1.clone(), owner.2.clone()));
        let address = service.map(|service| {
            format!(
                "{}:{}",
                service["spec"]["clusterIP"].as_str().unwrap(),
                service["spec"]["ports"][0]["port"]
            )
        });
        (inner.begins.clone(), page, address)
    };
    let well = status.is_none();
    if well && let Some(address) = &address {
        let app = axum::Router::new()
            .route("/health", axum::routing::get(|| async { "ok" }))
            .route("/", axum::routing::get(move || async move { page }));
        let old = state.inner.lock().unwrap().services.remove(&owner.2);
        if let Some(old) = old {
            old.abort();
        }
        let listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        let task = tokio::spawn(async move { drop(axum::serve(listener, app).await) });
        state
            .inner
            .lock()
            .unwrap()
            .services
            .insert(owner.2.clone(), task.abort_handle());
    }
    let status = status.unwrap_or_else(|| pod_status("Running", running(), json!({}), true, 0));
    let id = bascule_core::InstanceId::new().to_string();
    let pod = json!({
        "metadata": {
            "name": format!("{}-{}", owner.2, &id[id.len() - 5..]), "namespace": owner.1,
            "labels": object["spec"]["template"]["metadata"]["labels"],
            "ownerReferences": [{ "apiVersion": "v1", "kind": "x", "name": owner.2, "uid": object["metadata"]["uid"] }],
        },
        "spec": object["spec"]["template"]["spec"], "status": status,
    });
    let key = key_of("pods", &pod);
    state.inner.lock().unwrap().put(&key, pod);
    state.tell();
}

async fn end(state: &Arc<State>, key: &Key) {
    let mut inner = state.inner.lock().unwrap();
    let Some(mut pod) = inner.objects.get(key).cloned() else {
        return;
    };
    if pod["metadata"]["deletionTimestamp"].is_null() {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:09Z");
        inner.put(key, pod);
        drop(inner);
        let (state, key) = (Arc::clone(state), key.clone());
        tokio::spawn(async move {
            // Requests in flight end.
            tokio::time::sleep(Duration::from_millis(150)).await;
            let mut inner = state.inner.lock().unwrap();
            inner.remove(&key);
            let owner = key.2.rsplit_once('-').unwrap().0.to_owned();
            let again = inner
                .objects
                .contains_key(&("deployments".to_owned(), key.1.clone(), owner.clone()));
            if !again && let Some(service) = inner.services.remove(&owner) {
                service.abort();
            }
            drop(inner);
            state.tell();
        });
        return;
    }
    drop(inner);
}
