//! The edge as its users meet it: over sockets, with real instances behind it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail that way"
)]

mod follow;
mod support;

use bascule_core::EnvironmentId;
use bascule_wire::edge::EdgeConfig;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use support::{Client, Instance, Running, backend, raw, route, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn a_tenth_of_a_thousand_requests_goes_to_the_new_version() {
    let (old, new) = (Instance::named("old").await, Instance::named("new").await);
    let (edge, address) = Running::one(route(vec![old.backend(90), new.backend(10)])).await;
    let mut client = Client::connect(address).await;
    for _ in 0..1000 {
        assert_eq!(client.get("/").await.0, 200);
    }
    assert_eq!((old.seen(), new.seen()), (900, 100));
    let slices = edge.slices(1000).await;
    let counted: u64 = slices.iter().map(|slice| slice.requests).sum();
    assert_eq!(counted, 1000);
    assert_eq!(slices.iter().flat_map(|slice| &slice.latency).sum::<u64>(), 1000);
    assert!(slices.iter().all(|slice| slice.errors == 0 && slice.slow == 0));
    edge.stop().await;
}

#[tokio::test]
async fn switching_back_and_forth_under_load_loses_no_request() {
    let answer = |_| async {
        tokio::time::sleep(Duration::from_millis(3)).await;
        Response::new(text("fine"))
    };
    let (old, new) = (Instance::start(answer).await, Instance::start(answer).await);
    let (a, b) = (old.backend(1), new.backend(1));
    let only = |backend: &bascule_wire::edge::Backend| vec![backend.clone()];
    let first = route(only(&a));
    let (edge, address) = Running::one(first.clone()).await;
    let (sent, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut clients = Vec::new();
    for _ in 0..16 {
        let (sent, done) = (Arc::clone(&sent), Arc::clone(&done));
        clients.push(tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            while !done.load(Ordering::Relaxed) {
                let (status, body) = client.get("/work").await;
                assert_eq!((status, body.as_str()), (200, "fine"));
                sent.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for round in 0..100 {
        let backends = match round % 3 {
            0 => only(&b),
            1 => vec![a.clone(), b.clone()],
            _ => only(&a),
        };
        let mut next = first.clone();
        next.backends = backends;
        edge.handle
            .apply(EdgeConfig {
                revision: round,
                routes: vec![next],
            })
            .await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    done.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent > 100 && old.seen() > 0 && new.seen() > 0);
    let slices = edge.slices(sent as u64).await;
    assert_eq!(
        slices.iter().map(|slice| slice.requests).sum::<u64>(),
        sent as u64
    );
    assert_eq!(slices.iter().map(|slice| slice.errors).sum::<u64>(), 0);
    edge.stop().await;
}

#[tokio::test]
async fn taking_all_traffic_back_holds_for_the_very_next_request() {
    let (old, new) = (Instance::named("old").await, Instance::named("new").await);
    let both = route(vec![old.backend(1), new.backend(1)]);
    let (edge, address) = Running::one(both.clone()).await;
    let mut client = Client::connect(address).await;
    for _ in 0..10 {
        client.get("/").await;
    }
    let mut back = both.clone();
    back.backends[1].weight = 0;
    edge.handle
        .apply(EdgeConfig {
            revision: 2,
            routes: vec![back],
        })
        .await;
    let before = new.seen();
    for _ in 0..100 {
        assert_eq!(client.get("/").await.1, "old");
    }
    assert_eq!(new.seen(), before);
    edge.stop().await;
}

#[tokio::test]
async fn a_request_in_flight_to_an_instance_that_is_taken_out_still_gets_its_answer() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let open = Arc::clone(&gate);
    let old = Instance::start(move |_| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            Response::new(text("late"))
        }
    })
    .await;
    let first = route(vec![old.backend(1)]);
    let (edge, address) = Running::one(first.clone()).await;
    let waiting = tokio::spawn(async move { Client::connect(address).await.get("/").await });
    while old.seen() == 0 {
        tokio::task::yield_now().await;
    }
    let mut next = first.clone();
    next.backends.clear();
    edge.handle
        .apply(EdgeConfig {
            revision: 2,
            routes: vec![next],
        })
        .await;
    let (status, body) = Client::connect(address).await.get("/").await;
    assert_eq!(status, 503);
    assert!(body.contains("\"next\""), "{body}");
    // And a stopping edge waits for it too.
    let stop = tokio::spawn(edge.stop());
    open.add_permits(1);
    assert_eq!(waiting.await.unwrap(), (200, "late".to_owned()));
    stop.await.unwrap();
}

#[tokio::test]
async fn a_killed_instance_costs_no_get_and_counts_as_errors() {
    let (dead, alive) = (Instance::named("dead").await, Instance::named("alive").await);
    let (gone, stays) = (dead.backend(1), alive.backend(1));
    let (edge, address) = Running::one(route(vec![gone.clone(), stays.clone()])).await;
    let mut client = Client::connect(address).await;
    for _ in 0..10 {
        client.get("/").await;
    }
    dead.kill();
    for _ in 0..20 {
        assert_eq!(client.get("/").await, (200, "alive".to_owned()));
    }
    let slices = edge.slices(40).await;
    let errors = |instance| {
        slices
            .iter()
            .filter(|slice| slice.instance == instance)
            .map(|slice| slice.errors)
            .sum::<u64>()
    };
    assert_eq!(errors(stays.instance), 0);
    assert_eq!(errors(gone.instance), 10);
    edge.stop().await;
}

#[tokio::test]
async fn the_only_instance_down_is_a_502_that_says_why_and_is_counted() {
    let dead = Instance::named("dead").await;
    let (edge, address) = Running::one(route(vec![dead.backend(1)])).await;
    let mut client = Client::connect(address).await;
    assert_eq!(client.get("/").await.0, 200);
    dead.kill();
    let (status, body) = client.get("/").await;
    assert_eq!(status, 502);
    let problem: bascule_core::Problem = serde_json::from_str(&body).unwrap();
    assert_eq!(problem.code, "instance_unreachable");
    assert!(!problem.why.is_empty() && !problem.next.is_empty());
    let slices = edge.slices(2).await;
    assert_eq!(
        slices
            .iter()
            .map(|slice| (slice.requests, slice.errors))
            .fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1)),
        (2, 1)
    );
    edge.stop().await;
}

#[tokio::test]
async fn a_post_that_an_instance_broke_off_is_not_sent_twice() {
    let breaking = Instance::start(|request: Request<hyper::body::Incoming>| async move {
        let _ = request.into_body().collect().await;
        panic!("breaks the connection")
    })
    .await;
    let other = Instance::named("other").await;
    let (edge, address) = Running::one(route(vec![breaking.backend(1), other.backend(1)])).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let mut client = Client::connect(address).await;
        let request = Request::post("/")
            .header("host", "x")
            .body(text("order"))
            .unwrap();
        statuses.push(client.send(request).await.unwrap().status().as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 502, 502]);
    assert_eq!((breaking.seen(), other.seen()), (2, 2));
    edge.stop().await;
}

#[tokio::test]
async fn bodies_of_any_size_stream_through_both_ways() {
    let echo = Instance::start(|request: Request<hyper::body::Incoming>| async move {
        Response::new(request.into_body().boxed())
    })
    .await;
    let (edge, address) = Running::one(route(vec![echo.backend(1)])).await;
    let mut client = Client::connect(address).await;
    let chunk = Bytes::from(vec![7_u8; 64 * 1024]);
    let chunks = stream::iter(std::iter::repeat_n(chunk, 1024)).map(|bytes| Ok(Frame::data(bytes)));
    let request = Request::post("/")
        .header("host", "x")
        .body(BodyExt::boxed(StreamBody::new(chunks)))
        .unwrap();
    let mut body = client.send(request).await.unwrap().into_body();
    let mut received = 0;
    while let Some(frame) = body.frame().await {
        received += frame.unwrap().data_ref().map_or(0, Bytes::len);
    }
    assert_eq!(received, 64 * 1024 * 1024);
    // The connection is as good as new.
    let (status, _) = client.get("/").await;
    assert_eq!(status, 200);
    edge.stop().await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error_and_reaches_the_client_as_one() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort")
            .await
            .unwrap();
    });
    let (edge, address) = Running::one(route(vec![backend(&target, 1)])).await;
    let mut client = Client::connect(address).await;
    let request = Request::get("/").header("host", "x").body(text("")).unwrap();
    // The failure may overtake the head, but never looks like a whole answer.
    if let Ok(response) = client.send(request).await {
        assert!(response.into_body().collect().await.is_err());
    }
    let slices = edge.slices(1).await;
    assert_eq!((slices[0].requests, slices[0].errors), (1, 1));
    edge.stop().await;
}

#[tokio::test]
async fn web_sockets_pass_through() {
    let instance = Instance::start(|mut request: Request<hyper::body::Incoming>| async move {
        assert_eq!(request.headers()["upgrade"], "websocket");
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            let mut word = [0; 4];
            stream.read_exact(&mut word).await.unwrap();
            word.reverse();
            stream.write_all(&word).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        Response::builder()
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .body(text(""))
            .unwrap()
    })
    .await;
    let (edge, address) = Running::one(route(vec![instance.backend(1)])).await;
    let mut client = Client::connect(address).await;
    let request = Request::get("/socket")
        .header("host", "x")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .body(text(""))
        .unwrap();
    let response = client.send(request).await.unwrap();
    assert_eq!(response.status(), 101);
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    stream.write_all(b"ping").await.unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).await.unwrap();
    assert_eq!(back, "gnip");
    drop(stream);
    assert_eq!(edge.slices(1).await[0].requests, 1);
    edge.stop().await;
}

#[tokio::test]
async fn a_request_with_two_lengths_smuggles_nothing() {
    let instance = Instance::start(|request: Request<hyper::body::Incoming>| async move {
        let (path, length) = (
            request.uri().path().to_owned(),
            request.headers().contains_key("content-length"),
        );
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::new(text(&format!("[{path} {length} {}]", body.len())))
    })
    .await;
    let (edge, address) = Running::one(route(vec![instance.backend(1)])).await;
    for headers in [
        "content-length: 4\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 4",
    ] {
        let bytes = format!(
            "POST /one HTTP/1.1\r\nhost: x\r\n{headers}\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"
        );
        let answer = raw(address, bytes.as_bytes()).await;
        // The edge closes with the second request unread, and the reset may overtake the answer.
        let good =
            answer.contains("[/one false 0]") || answer.starts_with("HTTP/1.1 400") || answer.is_empty();
        assert!(good && !answer.contains("smuggled"), "{answer}");
    }
    for bad in [
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: x\r\nbad header: 1\r\n\r\n",
        "CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        let answer = raw(address, bad.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{bad:?} got {answer:?}");
    }
    assert!(instance.seen() <= 2);
    edge.stop().await;
}

#[tokio::test]
async fn headers_that_are_too_large_get_431() {
    let instance = Instance::named("fine").await;
    let (edge, address) = Running::one(route(vec![instance.backend(1)])).await;
    let large = format!(
        "GET / HTTP/1.1\r\nhost: x\r\nx-large: {}\r\n\r\n",
        "a".repeat(200 * 1024)
    );
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(200));
    for bytes in [large, many] {
        let answer = raw(address, bytes.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer:.100}");
    }
    assert_eq!(instance.seen(), 0);
    edge.stop().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let instance = Instance::start(|request: Request<hyper::body::Incoming>| async move {
        Response::new(text(&format!("[{}]", request.uri().path())))
    })
    .await;
    let (edge, address) = Running::one(route(vec![instance.backend(1)])).await;
    let bytes: String = (0..20)
        .map(|n| format!("GET /{n} HTTP/1.1\r\nhost: x\r\n\r\n"))
        .collect();
    let answer = raw(address, bytes.as_bytes()).await;
    let places: Vec<_> = (0..20)
        .map(|n| answer.find(&format!("[/{n}]")).unwrap())
        .collect();
    assert!(places.is_sorted(), "{answer}");
    edge.stop().await;
}

#[tokio::test]
async fn head_and_empty_answers_leave_the_connection_usable() {
    let instance = Instance::start(|request: Request<hyper::body::Incoming>| async move {
        let answer = Response::builder();
        match request.uri().path() {
            "/204" => answer.status(204).body(text("")).unwrap(),
            "/304" => answer.status(304).header("etag", "\"a\"").body(text("")).unwrap(),
            _ => answer.body(text("twelve bytes")).unwrap(),
        }
    })
    .await;
    let (edge, address) = Running::one(route(vec![instance.backend(1)])).await;
    let mut client = Client::connect(address).await;
    for _ in 0..5 {
        for path in ["/204", "/304", "/"] {
            let request = Request::head(path).header("host", "x").body(text("")).unwrap();
            let response = client.send(request).await.unwrap();
            if path == "/" {
                assert_eq!(response.headers()["content-length"], "12");
            }
            assert!(
                response
                    .into_body()
                    .collect()
                    .await
                    .unwrap()
                    .to_bytes()
                    .is_empty()
            );
            let (_, body) = client.get(path).await;
            assert_eq!(body.len(), if path == "/" { 12 } else { 0 });
        }
    }
    assert_eq!(
        edge.slices(30)
            .await
            .iter()
            .map(|slice| slice.errors)
            .sum::<u64>(),
        0
    );
    edge.stop().await;
}

#[tokio::test]
async fn the_shared_listener_serves_by_host_and_explains_an_unknown_one() {
    let instance = Instance::named("clinic").await;
    let edge = Running::start(vec![route(vec![instance.backend(1)])]).await;
    let shared = edge.shared().await;
    let ask = |host: &str| format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    let answer = raw(shared, ask("production.clinic.demo.localhost:8081").as_bytes()).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("clinic"),
        "{answer}"
    );
    let answer = raw(shared, ask("other.localhost").as_bytes()).await;
    assert!(
        answer.starts_with("HTTP/1.1 404") && answer.contains("no_route"),
        "{answer}"
    );
    edge.stop().await;
}

#[tokio::test]
async fn a_route_keeps_its_port_gives_it_up_when_gone_and_can_have_it_again() {
    let instance = Instance::named("fine").await;
    let mut wanted = route(vec![instance.backend(1)]);
    let (edge, address) = Running::one(wanted.clone()).await;
    wanted.port = Some(address.port());
    let other = bascule_wire::edge::Route {
        environment: EnvironmentId::new(),
        port: Some(address.port()),
        ..wanted.clone()
    };
    edge.handle
        .apply(EdgeConfig {
            revision: 2,
            routes: vec![wanted.clone(), other],
        })
        .await;
    let ports: Vec<_> = edge
        .handle
        .listeners()
        .borrow()
        .iter()
        .map(|report| report.port)
        .collect();
    assert_eq!(ports[0], address.port());
    assert_ne!(ports[1], address.port());
    edge.handle
        .apply(EdgeConfig {
            revision: 3,
            routes: Vec::new(),
        })
        .await;
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    edge.handle
        .apply(EdgeConfig {
            revision: 4,
            routes: vec![wanted],
        })
        .await;
    assert_eq!(Client::connect(address).await.get("/").await.0, 200);
    edge.stop().await;
}

#[tokio::test]
async fn a_slow_answer_counts_as_slow_in_the_right_bucket() {
    let instance = Instance::start(|_| async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        Response::builder().status(500).body(text("oh")).unwrap()
    })
    .await;
    let mut slow = route(vec![instance.backend(1)]);
    slow.slow_ms = 50;
    let (edge, address) = Running::one(slow).await;
    assert_eq!(Client::connect(address).await.get("/").await.0, 500);
    let slice = edge
        .slices(1)
        .await
        .into_iter()
        .find(|slice| slice.requests > 0)
        .unwrap();
    assert_eq!(
        (slice.requests, slice.errors, slice.slow, slice.in_flight),
        (1, 1, 1, 0)
    );
    let median = bascule_wire::edge::latency_quantile_ms(&slice.latency, 0.5).unwrap();
    assert!((59.0..200.0).contains(&median), "{median}");
    edge.stop().await;
}
