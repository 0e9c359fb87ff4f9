//! What a caller sends, in any of the forms that GitLab takes: a form, a multipart form, JSON, or the address alone.

use super::Call;
use crate::Ci;
use axum::{
    Json,
    extract::{Form, FromRequest as _, Multipart, Path, Query, Request, State},
    response::{IntoResponse as _, Response},
};
use bascule_core::{Problem, Result};
use bascule_web::Answer;
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Largest call, in bytes.
pub(super) const BYTES: usize = 1024 * 1024;

type Fields = Vec<(String, String)>;

#[derive(Debug, Default, Deserialize)]
struct Body {
    #[serde(default)]
    token: String,
    #[serde(default, rename = "ref")]
    reference: String,
    #[serde(default)]
    variables: BTreeMap<String, Value>,
    #[serde(default)]
    inputs: crate::config::Inputs,
}

/// `variables[NAME]`.
fn inside<'a>(field: &'a str, what: &str) -> Option<&'a str> {
    field.strip_prefix(what)?.strip_prefix('[')?.strip_suffix(']')
}

fn of_fields(fields: Fields, call: &mut Call) {
    for (field, value) in fields {
        if let Some(name) = inside(&field, "variables") {
            call.variables.insert(name.to_owned(), value);
        } else if let Some(name) = inside(&field, "inputs") {
            call.inputs.insert(name.to_owned(), value.into());
            call.texts = true;
        } else if field == "token" {
            call.token = value;
        } else if field == "ref" {
            call.reference = value;
        }
    }
}

fn unreadable(what: impl std::fmt::Display) -> Problem {
    Problem::bad_request("bad_body", format!("The body cannot be read: {what}."))
        .next("Send `token` and `ref`, and `variables[NAME]` or `inputs[NAME]`, as a form or as JSON.")
}

async fn read(request: Request) -> Result<Call> {
    let mut call = Call::default();
    if let Ok(Query(fields)) = Query::<Fields>::try_from_uri(request.uri()) {
        of_fields(fields, &mut call);
    }
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_ascii_lowercase();
    if kind.starts_with("multipart/form-data") {
        let mut parts = Multipart::from_request(request, &()).await.map_err(unreadable)?;
        let mut fields = Fields::new();
        while let Some(part) = parts.next_field().await.map_err(unreadable)? {
            let name = part.name().unwrap_or_default().to_owned();
            fields.push((name, part.text().await.map_err(unreadable)?));
        }
        of_fields(fields, &mut call);
    } else if kind.starts_with("application/json") {
        let bytes = axum::body::to_bytes(request.into_body(), BYTES)
            .await
            .map_err(unreadable)?;
        json_body(&bytes, &mut call)?;
    } else if kind.starts_with("application/x-www-form-urlencoded") {
        let Form(fields) = Form::<Fields>::from_request(request, &())
            .await
            .map_err(unreadable)?;
        of_fields(fields, &mut call);
    }
    Ok(call)
}

/// A webhook sends what it has, which is none of ours to read, beside a token in its address.
fn json_body(bytes: &[u8], call: &mut Call) -> Result<()> {
    let text = std::str::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8"))?;
    let known = !call.token.is_empty();
    if known && !text.trim().is_empty() {
        call.payload = Some(text.to_owned());
    }
    match serde_json::from_str::<Body>(text) {
        Ok(body) => {
            if !body.token.is_empty() {
                call.token = body.token;
            }
            if !body.reference.is_empty() && call.reference.is_empty() {
                call.reference = body.reference;
            }
            for (name, value) in body.variables {
                call.variables.insert(name, crate::config::as_text(&value));
            }
            call.inputs.extend(body.inputs);
        }
        Err(error) if !known => return Err(unreadable(error)),
        Err(_) => {}
    }
    Ok(())
}

pub(super) async fn pipeline(State(ci): State<Ci>, Path(project): Path<String>, request: Request) -> Answer {
    let call = read(request).await?;
    start(&ci, &project, call).await
}

/// With the branch in the address, as webhooks of others need it.
pub(super) async fn of_ref(
    State(ci): State<Ci>,
    Path((project, reference)): Path<(String, String)>,
    request: Request,
) -> Answer {
    let mut call = read(request).await?;
    call.reference = reference;
    start(&ci, &project, call).await
}

async fn start(ci: &Ci, project: &str, call: Call) -> Answer {
    let pipeline = ci.trigger(project, call).await?;
    let info = ci.code.project(pipeline.project_id).await?;
    let path = info.map(|info| info.path()).unwrap_or_default();
    Ok(made(&pipeline, &path, &ci.options.base_url))
}

/// The pipeline as GitLab's API tells it.
fn made(pipeline: &crate::pipeline::Pipeline, path: &str, base_url: &str) -> Response {
    let body = json!({
        "id": pipeline.id,
        "iid": pipeline.id,
        "project_id": pipeline.project_id,
        "sha": pipeline.sha,
        "ref": pipeline.reference,
        "tag": pipeline.tag,
        "status": pipeline.status.as_str(),
        "source": pipeline.source,
        "before_sha": pipeline.before_sha.as_deref().unwrap_or(crate::pipeline::ZERO),
        "created_at": pipeline.created_at,
        "user": { "username": pipeline.actor_name, "name": pipeline.actor_name },
        "web_url": format!("{base_url}/{path}/-/pipelines/{}", pipeline.id),
    });
    (StatusCode::CREATED, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, kind: &str, body: &str) -> Request {
        http::Request::builder()
            .method("POST")
            .uri(uri)
            .header("content-type", kind)
            .body(axum::body::Body::from(body.to_owned()))
            .unwrap()
    }

    #[tokio::test]
    async fn all_forms_say_the_same() {
        let wanted = |texts| Call {
            token: "glptt-x".to_owned(),
            reference: "main".to_owned(),
            variables: [("A".to_owned(), "1".to_owned())].into(),
            inputs: [("n".to_owned(), if texts { json!("3") } else { json!(3) })].into(),
            texts,
            payload: None,
        };
        let form = "token=glptt-x&ref=main&variables%5BA%5D=1&inputs[n]=3";
        let at = "/api/v4/projects/1/trigger/pipeline";
        let multipart = "--x\r\ncontent-disposition: form-data; name=\"token\"\r\n\r\nglptt-x\r\n--x\r\ncontent-disposition: form-data; name=\"ref\"\r\n\r\nmain\r\n--x\r\ncontent-disposition: form-data; name=\"variables[A]\"\r\n\r\n1\r\n--x\r\ncontent-disposition: form-data; name=\"inputs[n]\"\r\n\r\n3\r\n--x--\r\n";
        for (request, texts) in [
            (request(at, "application/x-www-form-urlencoded", form), true),
            (request(&format!("{at}?{form}"), "text/plain", ""), true),
            (request(at, "multipart/form-data; boundary=x", multipart), true),
            (
                request(
                    at,
                    "application/json",
                    r#"{"token":"glptt-x","ref":"main","variables":{"A":1},"inputs":{"n":3}}"#,
                ),
                false,
            ),
        ] {
            assert_eq!(read(request).await.unwrap(), wanted(texts));
        }
        // A webhook's own body is kept whole.
        let hook = request(
            &format!("{at}?token=glptt-x"),
            "application/json",
            r#"{"ref":"refs/heads/x","variables":[]}"#,
        );
        let call = read(hook).await.unwrap();
        assert_eq!(
            call.payload.as_deref(),
            Some(r#"{"ref":"refs/heads/x","variables":[]}"#)
        );
        assert!(read(request(at, "application/json", "{")).await.is_err());
    }
}
