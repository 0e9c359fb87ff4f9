//! What people see of a job's log.

use crate::harness::{Taken, World};
use reqwest::Method;
use serde_json::json;

async fn running(world: &World) -> (crate::harness::FakeRunner, Taken) {
    let runner = world.runner().await;
    world
        .push("main", &[(".gitlab-ci.yml", "a: {script: x}\n")])
        .await;
    let job = runner.ask().await.unwrap();
    (runner, job)
}

#[tokio::test(flavor = "multi_thread")]
async fn sections_fold_and_a_stream_goes_on_where_it_was_cut() {
    let world = World::new().await;
    let (runner, job) = running(&world).await;
    let first = b"section_start:100:build\r\x1b[0K\x1b[36mBuild\x1b[0m\none\n";
    runner.patch(&job, 0, first).await;
    let path = format!("/clinic/app/-/jobs/{}", job.id);
    let page = world.page(&path, "reporter").await;
    assert!(page.contains("data-depth=\"1\"") && page.contains("<details class=\"section\" open>"));
    let stream = page
        .split("data-stream=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .replace("&#38;", "&");
    let rest = b"two\nsection_end:163:build\r\x1b[0K\nafter\n";
    runner.patch(&job, first.len(), rest).await;
    runner.succeed(&job).await;
    let events = world
        .request(Method::GET, &stream, "reporter")
        .send()
        .await
        .unwrap();
    let events = events.text().await.unwrap();
    assert!(events.contains("two") && !events.contains(">one"), "{events}");
    assert!(
        events.contains("<i data-took=\"1m 3s\"></i></details>"),
        "{events}"
    );
    assert!(events.contains("event: done"));
    // A browser that lost the connection says what it saw last.
    let id = events
        .lines()
        .find_map(|line| line.strip_prefix("id: "))
        .unwrap()
        .to_owned();
    let again = world
        .request(Method::GET, &format!("{path}/log/events?from=0"), "reporter")
        .header("last-event-id", id);
    let again = again.send().await.unwrap().text().await.unwrap();
    assert!(!again.contains("two") && again.contains("event: done"), "{again}");
    let whole = world.page(&path, "reporter").await;
    assert!(whole.contains("<span class=\"section-took\">1m 3s</span>") && !whole.contains("data-stream"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_log_pages_and_is_searched() {
    let world = World::new().await;
    let (runner, job) = running(&world).await;
    let mut log = String::new();
    for line in 1..=60_000 {
        log += &format!(
            "line {line} {}\n",
            if line == 41_234 {
                "\x1b[31mNee\x1b[0mdle"
            } else {
                "of many words that fill it"
            }
        );
    }
    assert!(log.len() > 2 * 1024 * 1024);
    runner.patch(&job, 0, log.as_bytes()).await;
    runner.fail(&job, 1).await;
    let path = format!("/clinic/app/-/jobs/{}", job.id);
    let last = world.page(&path, "reporter").await;
    assert!(last.len() < 6 * 1024 * 1024, "{}", last.len());
    assert!(
        last.contains("id=\"L60000\"") && !last.contains("id=\"L1\""),
        "the end is shown first"
    );
    assert!(last.contains("Page 5 of 5"));
    let first = world.page(&format!("{path}?page=1"), "reporter").await;
    assert!(first.contains("id=\"L1\"") && first.contains("rel") | first.contains("More"));
    // Pages join without a gap.
    let second = world.page(&format!("{path}?page=2"), "reporter").await;
    let number = |page: &str, at: usize| -> u64 {
        let ids: Vec<&str> = page.split("id=\"L").skip(1).collect();
        let id = if at == 0 { ids[0] } else { ids[ids.len() - 1] };
        id.split('"').next().unwrap().parse().unwrap()
    };
    assert_eq!(number(&first, 1) + 1, number(&second, 0));
    assert!(
        second.contains(&format!("</a>line {} ", number(&second, 0))),
        "numbers are those of the lines"
    );
    let found = world.page(&format!("{path}?search=needle"), "reporter").await;
    assert!(found.contains("?line=41234#L41234") && found.contains("line 41234 Needle"));
    let there = world.page(&format!("{path}?line=41234"), "reporter").await;
    assert!(there.contains("id=\"L41234\""));
    let api = format!("/api/v1/projects/clinic/app/jobs/{}/log/search", job.id);
    let all = world.get(&format!("{api}?q=LINE%201")).await;
    assert_eq!(all["hits"].as_array().unwrap().len(), 200);
    let next = all["next"].as_str().unwrap();
    let more = world.get(&format!("{api}?q=LINE%201&from={next}")).await;
    let last = all["hits"][199]["line"].as_u64().unwrap();
    assert_eq!(more["hits"][0]["line"].as_u64().unwrap(), last + 1);
    assert_eq!(
        world.get(&format!("{api}?q=absent")).await,
        json!({"hits": [], "next": null})
    );
    let empty = world
        .request(Method::GET, &format!("{api}?q="), "reporter")
        .send()
        .await
        .unwrap();
    assert_eq!(empty.status(), 422);
}
