//! A runner that others wrote serves a whole pipeline: an independent reading of the protocol.

use crate::harness::World;
use gitlab_runner::{
    GitlabLayer, JobHandler, JobResult, Phase, RunnerBuilder, UploadableFile, job::Job, outputln,
};
use reqwest::Method;
use std::{borrow::Cow, io::Read as _};
use tracing_subscriber::{Registry, layer::SubscriberExt as _};

struct Output;

#[async_trait::async_trait]
impl UploadableFile for Output {
    type Data<'a> = &'a [u8];

    fn get_path(&self) -> Cow<'_, str> {
        "out/result.txt".into()
    }

    async fn get_data(&self) -> Result<&'_ [u8], ()> {
        Ok(b"forty-two")
    }
}

struct Work {
    name: String,
    received: Option<String>,
}

impl Work {
    async fn new(job: Job) -> Result<Self, ()> {
        let name = job.variable("CI_JOB_NAME").ok_or(())?.value().to_owned();
        let mut received = None;
        for dependency in job.dependencies() {
            let mut archive = dependency.download().await.map_err(drop)?.ok_or(())?;
            let mut text = String::new();
            archive
                .file("out/result.txt")
                .ok_or(())?
                .read_to_string(&mut text)
                .map_err(drop)?;
            received = Some(format!("{}: {text}", dependency.name()));
        }
        Ok(Self { name, received })
    }
}

#[async_trait::async_trait]
impl JobHandler<Output> for Work {
    async fn step(&mut self, script: &[String], phase: Phase) -> JobResult {
        outputln!("{} {:?} {}", self.name, phase, script.join("; "));
        if let Some(received) = &self.received {
            outputln!("received {}", received);
        }
        if script.iter().any(|line| line == "exit 1") {
            Err(())
        } else {
            Ok(())
        }
    }

    async fn get_uploadable_files(&mut self) -> Result<Box<dyn Iterator<Item = Output> + Send>, ()> {
        Ok(Box::new(std::iter::once(Output)))
    }
}

#[tokio::test]
async fn the_gitlab_runner_crate_serves_a_pipeline_with_artifacts() {
    let world = World::new().await;
    let ci = "build: {stage: build, before_script: [prepare], script: [make], after_script: [clean], artifacts: {paths: [out/]}}\n\
              test: {stage: test, script: [check]}\n\
              bad: {stage: deploy, script: [exit 1]}\n";
    world.push("main", &[(".gitlab-ci.yml", ci)]).await;
    let (_, token) = world.ci.create_runner("outside", vec![], true).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (layer, jobs) = GitlabLayer::new();
    let _guard = tracing_subscriber::util::SubscriberInitExt::set_default(Registry::default().with(layer));
    let server = url::Url::parse(&world.url).unwrap();
    let mut runner = RunnerBuilder::new(server, token, dir.path(), jobs)
        .version("0.3")
        .build()
        .await;
    for _ in 0..3 {
        assert!(runner.request_job(Work::new).await.unwrap());
        runner.drain().await;
    }
    let pipeline = world.pipeline().await;
    let states = world.states().await;
    let states: Vec<(&str, &str)> = states.iter().map(|(n, s)| (n.as_str(), s.as_str())).collect();
    assert_eq!(
        states,
        [("build", "success"), ("test", "success"), ("bad", "failed")]
    );
    assert_eq!(pipeline["status"], "failed");
    let log = async |index: usize| {
        let path = format!(
            "/api/v1/projects/clinic/app/jobs/{}/log",
            pipeline["jobs"][index]["id"]
        );
        world
            .request(Method::GET, &path, "reporter")
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    };
    let build = log(0).await;
    assert!(
        build.contains("build Script prepare; make") && build.contains("build AfterScript clean"),
        "{build}"
    );
    assert!(log(1).await.contains("received build: forty-two"));
    assert_eq!(world.ci.runners().await.unwrap()[0].version, "0.3");
}
