use super::*;
use axum::{
    Router,
    body::Body,
    extract::{Multipart, State},
    http::HeaderMap,
    response::IntoResponse,
    routing::{get, post},
};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

fn quick() -> Retry {
    Retry {
        attempts: 3,
        first: Duration::from_millis(1),
        most: Duration::from_millis(5),
    }
}

#[tokio::test]
async fn a_refusal_comes_through_word_for_word() {
    let problem = Problem::conflict("taken", "The name is taken.")
        .why("Names are unique.")
        .next("Choose another.");
    let answer = problem.clone();
    let url = serve(Router::new().route(
        "/x",
        post(move || async move { (StatusCode::CONFLICT, axum::Json(answer)) }),
    ))
    .await;
    let client = Client::new(&url, None).unwrap();
    assert_eq!(client.post::<_, ()>("/x", &1).await.unwrap_err(), problem);
    assert_eq!(client.get::<()>("/none").await.unwrap_err().status, 404);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable_with_advice() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = Client::new(&format!("http://{address}"), None)
        .unwrap()
        .with_retry(quick());
    let problem = client.get::<()>("/").await.unwrap_err();
    assert_eq!((problem.code.as_str(), problem.status), ("unreachable", 503));
    assert!(
        problem.next.contains("BASCULE_URL") && problem.why.contains("refused"),
        "{problem}"
    );
    assert!(Client::new("ftp://x", None).is_err());
    assert!(Client::new("nonsense", None).is_err());
}

#[tokio::test]
async fn what_may_be_repeated_is_and_the_rest_is_not() {
    let calls = Arc::new(AtomicU32::new(0));
    async fn flaky(State(calls): State<Arc<AtomicU32>>) -> impl IntoResponse {
        let n = calls.fetch_add(1, Ordering::SeqCst);
        if n < 2 {
            (StatusCode::BAD_GATEWAY, "null")
        } else {
            (StatusCode::OK, "7")
        }
    }
    let url = serve(
        Router::new()
            .route("/", get(flaky).post(flaky))
            .with_state(Arc::clone(&calls)),
    )
    .await;
    let client = Client::new(&url, None).unwrap().with_retry(quick());
    assert_eq!(client.get::<i32>("/").await.unwrap(), 7);
    calls.store(0, Ordering::SeqCst);
    assert_eq!(client.post::<_, i32>("/", &1).await.unwrap_err().status, 502);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn headers_query_and_token_arrive() {
    async fn echo(headers: HeaderMap, uri: axum::http::Uri) -> String {
        let text = |n: &str| headers.get(n).map_or("-", |v| v.to_str().unwrap()).to_owned();
        serde_json::to_string(&[text("authorization"), text("job-token"), uri.to_string()]).unwrap()
    }
    let url = serve(Router::new().route("/base/a", get(echo))).await;
    let client = Client::new(&format!("{url}/base"), Some("secret".into())).unwrap();
    let got: Vec<String> = client
        .request(Method::GET, "/a")
        .header("JOB-TOKEN", "j")
        .query("q", "a b&c")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(got, ["Bearer secret", "j", "/base/a?q=a+b%26c"]);
    assert!(!format!("{client:?}").contains("secret"));
    assert_eq!(
        client.get::<()>("http://evil.example/x").await.unwrap_err().code,
        "bad_address"
    );
}

#[tokio::test]
async fn a_download_appears_whole_and_right_or_not_at_all() {
    let url = serve(Router::new().route("/f", get(|| async { "hello" }))).await;
    let client = Client::new(&url, None).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f");
    let right = Digest::of(b"hello");
    assert_eq!(
        client.download("/f", &file, Some(&right), 100).await.unwrap(),
        (right, 5)
    );
    assert_eq!(std::fs::read(&file).unwrap(), b"hello");
    let other = dir.path().join("g");
    let wrong = client
        .download("/f", &other, Some(&Digest::of(b"x")), 100)
        .await
        .unwrap_err();
    assert_eq!(wrong.code, "wrong_digest");
    assert_eq!(
        client.download("/f", &other, None, 4).await.unwrap_err().status,
        413
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn tokens_do_not_follow_a_redirect_to_another_server() {
    async fn seen(headers: HeaderMap) -> String {
        format!("{:?}", headers.get("job-token").or(headers.get("authorization")))
    }
    let storage = serve(Router::new().route("/o", get(seen))).await;
    let target = format!("{storage}/o");
    let url = serve(Router::new().route(
        "/f",
        get(move || async move { (StatusCode::FOUND, [("location", target)]) }),
    ))
    .await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f");
    let client = Client::new(&url, Some("t".into())).unwrap();
    client
        .request(Method::GET, "/f")
        .header("JOB-TOKEN", "j")
        .download(&file, None, 100)
        .await
        .unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "None");
}

#[tokio::test]
async fn an_upload_streams_a_file_in_a_form() {
    async fn take(mut form: Multipart) -> String {
        let mut seen = Vec::new();
        while let Some(field) = form.next_field().await.unwrap() {
            let name = format!("{:?}/{:?}", field.name().unwrap(), field.file_name());
            seen.push(format!("{name}={}", field.text().await.unwrap()));
        }
        serde_json::to_string(&seen).unwrap()
    }
    let url = serve(Router::new().route("/u", post(take))).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f");
    std::fs::write(&file, "content").unwrap();
    let upload = Upload {
        file,
        file_name: "a.zip".into(),
        part: "file".into(),
        fields: vec![("k".into(), "v".into())],
    };
    let client = Client::new(&url, None).unwrap();
    let seen: Vec<String> = client
        .request(Method::POST, "/u")
        .upload(upload)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(seen, ["\"k\"/None=v", "\"file\"/Some(\"a.zip\")=content"]);
}

#[tokio::test]
async fn lines_and_events_come_as_they_are_written() {
    async fn pieces() -> Body {
        let parts = ["one\ntw", "o\r\nthree"].map(|part| Ok::<_, std::io::Error>(bytes::Bytes::from(part)));
        Body::from_stream(futures::stream::iter(parts))
    }
    let sse = ": hi\n\nid: 4\nevent: log\ndata: a\ndata: b\n\ndata: c\n\ndata: cut";
    let url = serve(
        Router::new()
            .route("/l", get(pieces))
            .route("/e", get(move || async move { sse })),
    )
    .await;
    let client = Client::new(&url, None).unwrap();
    let mut lines = client.request(Method::GET, "/l").send().await.unwrap().lines();
    let mut got = Vec::new();
    while let Some(line) = lines.next().await.unwrap() {
        got.push(line);
    }
    assert_eq!(got, ["one", "two", "three"]);
    let mut events = client.request(Method::GET, "/e").send().await.unwrap().events();
    let first = events.next().await.unwrap().unwrap();
    assert_eq!(
        first,
        Event {
            kind: "log".into(),
            id: "4".into(),
            data: "a\nb".into()
        }
    );
    let second = events.next().await.unwrap().unwrap();
    assert_eq!((second.kind.as_str(), second.data.as_str()), ("message", "c"));
    assert_eq!(events.next().await.unwrap(), None);
}
