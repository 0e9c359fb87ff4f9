//! How the cluster's API answers.

use super::{
    apply,
    cluster::{Inner, Key, State, TOKEN, with_kind},
};
use axum::{
    body::{Body, Bytes},
    http::{Method, Request, Response, StatusCode, header},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    convert::Infallible,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

pub fn acceptor(folder: &Path) -> TlsAcceptor {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
    let path = folder.display();
    let made = std::process::Command::new("sh")
        .args(["-ec", &format!(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=cluster \
             -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
             -keyout {path}/key.pem -out {path}/cert.pem 2>&1"
        )])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let certificate = CertificateDer::from_pem_file(folder.join("cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

pub async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, state: Arc<State>) {
    let service = hyper::service::service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(answer(&state, request).await) }
    });
    let builder = Builder::new(TokioExecutor::new());
    match tls {
        None => drop(builder.serve_connection(TokioIo::new(stream), service).await),
        Some(tls) => {
            let Ok(stream) = tls.accept(stream).await else {
                return;
            };
            drop(builder.serve_connection(TokioIo::new(stream), service).await);
        }
    }
}

fn reply(status: u16, body: &Value) -> Response<Body> {
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}

fn refuse(code: u16, reason: &str, message: &str) -> Response<Body> {
    reply(
        code,
        &json!({ "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "code": code }),
    )
}

async fn answer(state: &Arc<State>, request: Request<hyper::body::Incoming>) -> Response<Body> {
    use http_body_util::BodyExt as _;
    let slow = state.slow_ms.load(Ordering::Relaxed);
    if slow > 0 {
        tokio::time::sleep(Duration::from_millis(slow)).await;
    }
    let left = state.busy.load(Ordering::Relaxed);
    if left > 0 {
        state.busy.store(left - 1, Ordering::Relaxed);
        return refuse(
            429,
            "TooManyRequests",
            "the server has received too many requests",
        );
    }
    let (parts, body) = request.into_parts();
    if parts
        .headers
        .get(header::AUTHORIZATION)
        .is_none_or(|sent| *sent != format!("Bearer {TOKEN}"))
    {
        return refuse(401, "Unauthorized", "Unauthorized");
    }
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let query: HashMap<String, String> = url_query(parts.uri.query().unwrap_or_default());
    let path: Vec<&str> = parts.uri.path().trim_start_matches('/').split('/').collect();
    let at = path
        .iter()
        .position(|part| *part == "namespaces")
        .unwrap_or(path.len());
    let (Some(namespace), Some(kind)) = (path.get(at + 1), path.get(at + 2)) else {
        return refuse(
            404,
            "NotFound",
            "the server could not find the requested resource",
        );
    };
    {
        let mut inner = state.inner.lock().unwrap();
        inner.asked.push(format!("{} {kind}", parts.method));
        if inner.forbidden == Some(*kind) {
            let message = format!(
                "{kind} is forbidden: User \"agent\" cannot do this in the namespace \"{namespace}\""
            );
            return refuse(403, "Forbidden", &message);
        }
    }
    let (kind, namespace) = ((*kind).to_owned(), (*namespace).to_owned());
    let Some(name) = path.get(at + 3) else {
        return list(state, &kind, &namespace, &query);
    };
    let key = (kind, namespace, (*name).to_owned());
    if path.get(at + 4) == Some(&"log") {
        let inner = state.inner.lock().unwrap();
        return match inner.logs.get(*name) {
            Some(text) => Response::new(Body::from(text.clone())),
            None => refuse(400, "BadRequest", "previous terminated container not found"),
        };
    }
    let answer = one(
        &mut state.inner.lock().unwrap(),
        &parts.method,
        &key,
        &query,
        &body,
    );
    state.tell();
    answer
}

fn url_query(text: &str) -> HashMap<String, String> {
    let plain = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            if byte == b'%' {
                let hex = [rest.next().unwrap(), rest.next().unwrap()];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
            } else {
                bytes.push(byte);
            }
        }
        String::from_utf8(bytes).unwrap()
    };
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (plain(name), plain(value)))
        .collect()
}

fn one(
    inner: &mut Inner,
    method: &Method,
    key: &Key,
    query: &HashMap<String, String>,
    body: &Bytes,
) -> Response<Body> {
    let missing = || refuse(404, "NotFound", &format!("{} \"{}\" not found", key.0, key.2));
    match method.as_str() {
        "GET" => match inner.objects.get(key) {
            Some(object) => reply(200, &with_kind(&key.0, object.clone())),
            None => missing(),
        },
        "PATCH" => {
            let patch: Value = serde_json::from_slice(body).unwrap();
            let (manager, force) = (
                &query["fieldManager"],
                query.get("force").is_some_and(|force| force == "true"),
            );
            let before = inner.objects.get(key).cloned();
            let owners = inner.owners.entry(key.clone()).or_default();
            let made = match apply::apply(before.as_ref(), owners, manager, &patch, force) {
                Ok(made) => made,
                Err(message) => return refuse(409, "Conflict", &message),
            };
            if before.as_ref() == Some(&made) {
                return reply(200, &with_kind(&key.0, made));
            }
            let made = defaults(key, made);
            let made = inner.put(key, made);
            reply(if before.is_some() { 200 } else { 201 }, &with_kind(&key.0, made))
        }
        "PUT" => {
            let object: Value = serde_json::from_slice(body).unwrap();
            let Some(before) = inner.objects.get(key).cloned() else {
                return missing();
            };
            if object["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"] {
                return refuse(
                    409,
                    "Conflict",
                    "the object has been modified; please apply your changes to the latest version",
                );
            }
            let manager = query.get("fieldManager").map_or("unknown", String::as_str);
            apply::take_over(
                inner.owners.entry(key.clone()).or_default(),
                &before,
                &object,
                manager,
            );
            let made = inner.put(key, object);
            reply(200, &with_kind(&key.0, made))
        }
        "DELETE" => {
            if inner.remove(key) {
                reply(
                    200,
                    &json!({ "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success", "code": 200 }),
                )
            } else {
                missing()
            }
        }
        _ => refuse(405, "MethodNotAllowed", "no"),
    }
}

/// What a real server adds of its own.
fn defaults(key: &Key, mut object: Value) -> Value {
    match key.0.as_str() {
        "deployments" => object["spec"]["progressDeadlineSeconds"] = json!(600),
        "services" if object["spec"]["clusterIP"].is_null() => {
            let id = bascule_core::InstanceId::new().to_string();
            let hex = &id[id.len() - 6..];
            let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap().clamp(1, 254);
            object["spec"]["clusterIP"] = json!(format!("127.{}.{}.{}", byte(0), byte(2), byte(4)));
        }
        _ => {}
    }
    object
}

fn selected(object: &Value, query: &HashMap<String, String>) -> bool {
    let selector = query.get("labelSelector").map(String::as_str).unwrap_or_default();
    selector.split(',').filter(|one| !one.is_empty()).all(|one| {
        let (name, value) = one.split_once('=').unwrap();
        object["metadata"]["labels"][name] == value.trim_start_matches('=')
    })
}

fn list(state: &Arc<State>, kind: &str, namespace: &str, query: &HashMap<String, String>) -> Response<Body> {
    let watching = query
        .get("watch")
        .is_some_and(|watch| matches!(watch.as_str(), "true" | "1"));
    if !watching {
        let inner = state.inner.lock().unwrap();
        let items: Vec<Value> = inner
            .objects
            .iter()
            .filter(|((one, space, _), object)| one == kind && space == namespace && selected(object, query))
            .map(|(_, object)| object.clone())
            .collect();
        let sample = with_kind(kind, json!({}));
        return reply(
            200,
            &json!({ "apiVersion": sample["apiVersion"], "kind": format!("{}List", sample["kind"].as_str().unwrap()),
                "metadata": { "resourceVersion": inner.version.to_string() }, "items": items }),
        );
    }
    let from: u64 = query
        .get("resourceVersion")
        .and_then(|version| version.parse().ok())
        .unwrap_or(0);
    let seconds = query
        .get("timeoutSeconds")
        .and_then(|text| text.parse().ok())
        .unwrap_or(60);
    let (kind, namespace, query, state) = (
        with_kind(kind, json!({})),
        namespace.to_owned(),
        query.clone(),
        Arc::clone(state),
    );
    let (changes, epoch) = (state.changed.subscribe(), state.epoch.subscribe());
    let until = tokio::time::Instant::now() + Duration::from_secs(seconds);
    let begun = (from, changes, epoch, false);
    let stream = futures::stream::unfold(begun, move |(at, mut changes, mut epoch, over)| {
        let (kind, namespace, query, state) =
            (kind.clone(), namespace.clone(), query.clone(), Arc::clone(&state));
        async move {
            if over {
                return None;
            }
            loop {
                changes.mark_unchanged();
                {
                    let inner = state.inner.lock().unwrap();
                    if at + 1 < inner.oldest {
                        let gone = json!({ "type": "ERROR", "object": { "apiVersion": "v1", "kind": "Status", "metadata": {},
                            "status": "Failure", "message": "too old resource version", "reason": "Expired", "code": 410 } });
                        return Some((
                            Ok::<_, Infallible>(format!("{gone}\n")),
                            (at, changes, epoch, true),
                        ));
                    }
                    let next = inner.log.iter().find(|(version, _, object)| {
                        *version > at
                            && object["kind"] == kind["kind"]
                            && object["metadata"]["namespace"] == namespace
                            && selected(object, &query)
                    });
                    if let Some((version, what, object)) = next {
                        let event = json!({ "type": what, "object": object });
                        return Some((Ok(format!("{event}\n")), (*version, changes, epoch, false)));
                    }
                }
                tokio::select! {
                    _ = changes.changed() => {}
                    _ = epoch.changed() => return None,
                    () = tokio::time::sleep_until(until) => return None,
                }
            }
        }
    });
    Response::builder()
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from_stream(stream))
        .unwrap()
}
