//! Caches that the server keeps for runners without a store of their own.

use crate::harness::{FakeRunner, Taken, World};
use reqwest::Method;
use std::time::Duration;

const ONE: &str = "a: {script: x, cache: {key: deps, paths: [d]}}\n";
const DAY: Duration = Duration::from_secs(86_400);

async fn job(world: &World, runner: &FakeRunner, branch: &str, n: u32) -> Taken {
    world
        .push(branch, &[(".gitlab-ci.yml", ONE), ("n", &n.to_string())])
        .await;
    let job = runner.ask().await.unwrap();
    assert_eq!(job.body["features"]["server_cache"], true);
    job
}

async fn put(runner: &FakeRunner, job: &Taken, key: &str, bytes: &[u8]) -> u16 {
    let request = runner
        .api(Method::PUT, &format!("jobs/{}/cache", job.id))
        .query(&[("key", key)])
        .header("JOB-TOKEN", &job.token)
        .body(bytes.to_vec());
    request.send().await.unwrap().status().as_u16()
}

async fn get(runner: &FakeRunner, job: &Taken, key: &str) -> (u16, Vec<u8>) {
    let request = runner
        .api(Method::GET, &format!("jobs/{}/cache", job.id))
        .query(&[("key", key)])
        .header("JOB-TOKEN", &job.token);
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.bytes().await.unwrap().to_vec())
}

async fn caches_are_kept_apart_replaced_and_expire(world: World) {
    let runner = world.runner().await;
    let content = vec![9_u8; 3 * 1024 * 1024];
    let first = job(&world, &runner, "feature", 1).await;
    let key = first.body["cache"][0]["key"].as_str().unwrap().to_owned();
    assert_eq!(key, "deps-non_protected");
    assert_eq!(get(&runner, &first, &key).await.0, 404, "there is none yet");
    assert_eq!(put(&runner, &first, &key, &content).await, 201);
    assert_eq!(put(&runner, &first, "own", b"of a branch").await, 201);
    assert_eq!(get(&runner, &first, &key).await, (200, content.clone()));
    assert_eq!(put(&runner, &first, "", b"x").await, 400);
    assert_eq!(put(&runner, &first, &"k".repeat(2000), b"x").await, 400);
    runner.succeed(&first).await;
    assert_eq!(
        get(&runner, &first, &key).await.0,
        403,
        "a job's token ends with the job"
    );

    // What anyone may push is not what the trunk runs, whatever it calls its cache.
    let trunk = job(&world, &runner, "main", 2).await;
    assert_eq!(trunk.body["cache"][0]["key"], "deps-protected");
    assert_eq!(get(&runner, &trunk, "own").await.0, 404);
    assert_eq!(
        get(&runner, &trunk, &key).await.0,
        200,
        "shared, where the file says so"
    );
    assert_eq!(put(&runner, &trunk, "deps-protected", b"of the trunk").await, 201);
    runner.succeed(&trunk).await;
    let second = job(&world, &runner, "feature", 3).await;
    assert_eq!(get(&runner, &second, "deps-protected").await.0, 404);
    assert_eq!(put(&runner, &second, "deps-protected", b"of a branch").await, 201);
    // The later one takes the place of the one before.
    assert_eq!(put(&runner, &second, &key, b"anew").await, 201);
    assert_eq!(get(&runner, &second, &key).await, (200, b"anew".to_vec()));
    runner.succeed(&second).await;

    // What is used stays, and what is not goes.
    world.clock.advance(10 * DAY);
    let third = job(&world, &runner, "main", 4).await;
    assert_eq!(
        get(&runner, &third, "deps-protected").await,
        (200, b"of the trunk".to_vec())
    );
    world.clock.advance(10 * DAY);
    world.ci.expire_caches().await.unwrap();
    assert_eq!(get(&runner, &third, "deps-protected").await.0, 200);
    assert_eq!(get(&runner, &third, &key).await.0, 404);
    let request = runner
        .api(Method::PUT, &format!("jobs/{}/cache", third.id))
        .query(&[("key", "k")])
        .header("JOB-TOKEN", &third.token)
        .header("content-length", "99999999999")
        .body(reqwest::Body::wrap_stream(futures::stream::pending::<
            Result<Vec<u8>, std::io::Error>,
        >()));
    assert_eq!(request.send().await.unwrap().status(), 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn caches_are_kept_apart_replaced_and_expire_on_sqlite() {
    caches_are_kept_apart_replaced_and_expire(World::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caches_are_kept_apart_replaced_and_expire_on_postgres() {
    let postgres = bascule_testkit::Postgres::start();
    caches_are_kept_apart_replaced_and_expire(World::on(Some(postgres.url())).await).await;
}
