use super::Strategy;
use super::*;
use proptest::prelude::*;

const WHOLE: &str = "\
product: clinic
artifact: dist/app.tar.gz
command: python3 -m app
port: 8080
health: {path: /healthz, interval: 500ms, timeout: 1s, start: 20s}
environment:
  GREETING: hello
  DEBUG: \"0\"
environments:
  staging:
    variables: {GREETING: hello from staging}
smoke:
  - path: /
    status: 200
    contains: clinic
slo: {availability: 99.5, window: 28d, latency_ms: 250}
rollout: {strategy: blue_green, steps: [10, 50], step: 10s, slice: 1s, max: 40s, inconclusive: abort}
limits: {memory: 128MiB, pids: 32}
";

fn refused(text: &str) -> String {
    parse(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn a_whole_file_is_read() {
    let product = parse(WHOLE.as_bytes()).unwrap();
    assert_eq!(product.name, "clinic");
    assert_eq!(product.health.interval_ms, 500);
    assert_eq!(product.variables_in("staging")["GREETING"], "hello from staging");
    assert_eq!(product.variables_in("production")["GREETING"], "hello");
    assert_eq!(product.smoke[0].contains, "clinic");
    assert_eq!(
        product.slo,
        Slo {
            availability: 99.5,
            window_seconds: 2_419_200,
            latency_ms: 250
        }
    );
    assert_eq!(product.rollout.steps, [10, 50, 100]);
    assert_eq!(
        (
            product.rollout.step_ms,
            product.rollout.slice_ms,
            product.rollout.max_ms
        ),
        (10_000, 1_000, 40_000)
    );
    assert_eq!(product.limits.memory_bytes, 128 << 20);
}

#[test]
fn three_lines_are_enough() {
    let product = parse(b"product: a\nartifact: a.zip\ncommand: ./a\n").unwrap();
    assert_eq!(product.health.path, "/healthz");
    assert_eq!(product.rollout, RolloutPolicy::default());
    assert!(product.smoke.is_empty());
}

#[test]
fn one_file_serves_both_drivers() {
    use bascule_wire::agent::Driver::{Kubernetes, Podman, Process};
    let both = "product: a\nartifact: a.zip\ncommand: ./a\nimage: {archive: a.oci.tar, command: /a}\n";
    let product = parse(both.as_bytes()).unwrap();
    let runs = |asked| {
        product
            .runs(asked)
            .map(|runs| (runs.driver, runs.path.to_owned()))
    };
    assert_eq!(runs(None), Ok((Process, "a.zip".to_owned())));
    assert_eq!(runs(Some(Podman)), Ok((Podman, "a.oci.tar".to_owned())));
    assert_eq!(runs(Some(Kubernetes)), Ok((Kubernetes, "a.oci.tar".to_owned())));
    assert_eq!(product.command_of(Kubernetes), "/a");
    assert_eq!(
        (product.command_of(Process), product.command_of(Podman)),
        ("./a", "/a")
    );
    let product = parse(format!("{both}driver: podman\n").as_bytes()).unwrap();
    assert_eq!(product.runs(None).unwrap().driver, Podman);
    let image = parse(b"product: a\nimage: a.oci.tar\n").unwrap();
    assert_eq!(image.runs(None).unwrap().driver, Podman);
    assert_eq!(image.command_of(Podman), "", "the image's own");
    assert!(
        image
            .runs(Some(Process))
            .unwrap_err()
            .contains("names no `artifact`")
    );
    assert_eq!(
        parse(b"product: a\nartifact: a.zip\ncommand: ./a\n")
            .map(|product| product.runs(Some(Podman)).unwrap_err())
            .unwrap_or_default(),
        "it is to run by the driver podman, and for that bascule.yaml names no `image`"
    );
    for (text, says) in [
        ("product: a\n", "or `image: dist/app.oci.tar`"),
        ("product: a\nartifact: a.zip\n", "`command` is missing"),
        (
            "product: a\nimage: a.tar\ncommand: ./a\n",
            "bascule.yaml:3:10: `command` goes with",
        ),
        (
            "product: a\nimage: a.tar\ndriver: process\n",
            "bascule.yaml:3:9: it is to run by the driver process",
        ),
        (
            "product: a\nimage: a.tar\ndriver: docker\n",
            "process, podman, kubernetes",
        ),
        ("product: a\nimage: /a.tar\n", "a path within"),
    ] {
        let message = refused(text);
        assert!(message.contains(says), "{text:?}: {message}");
    }
}

#[test]
fn errors_name_line_column_and_what_is_allowed() {
    let three = "product: a\nartifact: a.zip\ncommand: ./a\n";
    assert_eq!(
        refused(&format!("{three}helth: {{}}\n")),
        "bascule.yaml:4:1: the file has no key `helth` (did you mean `health`?); allowed: the keys product, \
         artifact, command, image, driver, port, health, environment, environments, smoke, slo, rollout, limits, drain, dependencies, incompatible, versions, channels, recall, preview"
    );
    assert_eq!(
        refused(&format!("{three}rollout:\n  steps: [10, 5]\n")),
        "bascule.yaml:5:15: the step 5 does not rise; allowed: rising percentages such as [10, 25, 50, 100]"
    );
    assert!(refused("artifact: a\n").contains("`product` is missing"));
    assert!(refused("").contains("the file is empty"));
    assert!(refused("product: [").starts_with("bascule.yaml:"));
    for (line, word) in [
        ("environment: {PORT: 1}", "PORT"),
        ("environment: {\"A B\": 1}", "`A B`"),
        ("health: {path: healthz}", "begins with `/`"),
        ("slo: {availability: 100}", "below 100"),
        ("limits: {memory: lots}", "lots"),
        ("rollout: {slice: 5s}", "1s, 1m"),
        ("rollout: {step: 10m, max: 1m}", "shorter"),
        ("drain: -1s", "-1s"),
        ("port: 0", "65535"),
        ("command: b", "a second time"),
        ("slo: *x", "anchor"),
        ("slo: &x {}", "anchor"),
    ] {
        let message = refused(&format!("{three}{line}\n"));
        assert!(
            message.starts_with("bascule.yaml:4:") && message.contains(word),
            "{line}: {message}"
        );
    }
}

#[test]
fn a_canary_has_times_and_pauses_of_its_own() {
    let three = "product: a\nartifact: a.zip\ncommand: ./a\n";
    let read = |rollout: &str| parse(format!("{three}{rollout}\n").as_bytes()).map(|product| product.rollout);
    let policy =
        read("rollout: {strategy: canary, steps: [{weight: 5, time: 2m}, {pause: true}, 25, {weight: 50, time: 1h}]}")
            .unwrap();
    assert_eq!(policy.steps, [5, 25, 50, 100]);
    assert_eq!(policy.pauses, [0]);
    assert_eq!(
        (policy.time_at(0), policy.time_at(1), policy.time_at(2)),
        (120_000, 600_000, 3_600_000)
    );
    assert_eq!((policy.slice_ms, policy.max_ms), (1_000, 3 * 3_600_000));
    let policy = read("slo: {availability: 99.5}\nrollout: {burn: 50}").unwrap();
    assert_eq!(
        policy.burn,
        Some(Burn {
            rate: 50,
            budget_ppm: 5_000
        })
    );
    for (line, word) in [
        (
            "rollout: {strategy: canary, steps: [{pause: true}, 5]}",
            "after a share",
        ),
        (
            "rollout: {strategy: canary, steps: [5, {pause: true, weight: 9}]}",
            "stands alone",
        ),
        ("rollout: {steps: [{weight: 5}]}", "only a canary"),
        (
            "rollout: {strategy: canary, steps: [{time: 5s}]}",
            "`weight` is missing",
        ),
        (
            "rollout: {strategy: canary, steps: [9, {weight: 5}]}",
            "does not rise",
        ),
        ("rollout: {burn: 1}", "from 2 to 10000"),
    ] {
        let message = refused(&format!("{three}{line}\n"));
        assert!(message.contains(word), "{line}: {message}");
    }
    // A policy that was stored before these keys is still read.
    let old = r#"{"strategy":"blue_green","steps":[10,100],"step_ms":1000,"slice_ms":1000,"max_ms":3000,"inconclusive":"ask"}"#;
    let policy: RolloutPolicy = serde_json::from_str(old).unwrap();
    assert_eq!(
        (
            policy.time_at(0),
            policy.pauses.len(),
            policy.burn,
            policy.replicas
        ),
        (1_000, 0, None, 1)
    );
}

#[test]
fn each_tier_has_the_strategy_that_the_file_gives_it() {
    let three = "product: a\nartifact: a.zip\ncommand: ./a\n";
    let read = |rollout: &str| parse(format!("{three}{rollout}\n").as_bytes());
    let usual = read("rollout: {replicas: 3, steps: [5, 50], baseline: fresh}").unwrap();
    let (staging, production) = (
        usual.rollout_in(Tier::Staging),
        usual.rollout_in(Tier::Production),
    );
    assert_eq!(
        (staging.steps, staging.replicas, staging.fresh),
        (vec![100], 3, false)
    );
    assert_eq!(
        (production.steps, production.replicas, production.fresh),
        (vec![5, 50, 100], 3, true)
    );

    let product = read(
        "rollout:\n  strategy: rolling\n  replicas: 6\n  max_surge: 2\n  staging: {replicas: 1, strategy: recreate}\n  \
         production: {step: 10m, max_unavailable: 1}",
    )
    .unwrap();
    let (staging, production) = (
        product.rollout_in(Tier::Staging),
        product.rollout_in(Tier::Production),
    );
    assert_eq!((staging.strategy, staging.replicas), (Strategy::Recreate, 1));
    assert_eq!((production.strategy, production.replicas), (Strategy::Rolling, 6));
    assert_eq!((production.max_surge, production.max_unavailable), (2, 1));
    assert_eq!((production.step_ms, production.slice_ms), (600_000, 60_000));
    assert!(production.staging.is_none());
    assert_eq!(
        product,
        serde_json::from_value(serde_json::to_value(&product).unwrap()).unwrap()
    );

    // A number of its own gives staging no steps; steps and strategies do.
    let product = read("rollout: {replicas: 3, steps: [5], staging: {replicas: 1}}").unwrap();
    let staging = product.rollout_in(Tier::Staging);
    assert_eq!((staging.steps, staging.replicas), (vec![100], 1));
    let product = read("rollout: {staging: {steps: [50], step: 2s}}").unwrap();
    assert_eq!(product.rollout_in(Tier::Staging).steps, [50, 100]);
    let product = read("rollout: {strategy: recreate, staging: {strategy: canary}}").unwrap();
    let staging = product.rollout_in(Tier::Staging);
    assert_eq!(
        (staging.strategy, staging.steps),
        (Strategy::Canary, vec![10, 25, 50, 100])
    );

    // What cannot stand beside itself cannot do so in staging either.
    let product = read("rollout: {strategy: recreate}").unwrap();
    assert_eq!(product.rollout_in(Tier::Staging).strategy, Strategy::Recreate);
    let product = read("rollout: {strategy: rolling, replicas: 2}").unwrap();
    assert_eq!(product.rollout_in(Tier::Staging).strategy, Strategy::BlueGreen);
    assert_eq!(product.rollout.step_ms, 60_000);

    for (line, word) in [
        ("rollout: {replicas: 0}", "from 1 to 50"),
        (
            "rollout: {strategy: rolling, steps: [5]}",
            "no meaning with rolling",
        ),
        ("rollout: {max_surge: 2}", "no meaning with blue_green"),
        (
            "rollout: {strategy: rolling, max_surge: 0}",
            "nothing could ever be replaced",
        ),
        (
            "rollout: {strategy: rolling, replicas: 2, max_unavailable: 2}",
            "leaves no instance",
        ),
        (
            "rollout: {strategy: recreate, baseline: fresh}",
            "cannot be `fresh` with recreate",
        ),
        ("rollout: {staging: {production: {}}}", "has no key `production`"),
        (
            "rollout: {staging: {strategy: quick}}",
            "rollout.staging.strategy cannot be `quick`",
        ),
    ] {
        let message = read(line).unwrap_err().to_string();
        assert!(message.contains(word), "{line}: {message}");
    }
}

#[test]
fn paths_never_leave_the_release() {
    for bad in ["../x", "/etc/passwd", "a/../../b", "a//b", "a\\b"] {
        let message = refused(&format!("product: a\nartifact: '{bad}'\ncommand: x\n"));
        assert!(message.contains("artifact cannot be"), "{message}");
    }
}

#[test]
fn bombs_are_refused_quickly() {
    let deep = "[".repeat(5_000);
    assert!(parse(deep.as_bytes()).is_err());
    let wide = format!("product: {}", "[a],".repeat(20_000));
    assert!(parse(wide.as_bytes()).is_err());
    let laughs = "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n";
    assert!(refused(laughs).contains("anchor"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_text_panics(text in "\\PC{0,300}") {
        let _ = parse(text.as_bytes());
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn no_change_to_a_good_file_panics(at in 0..WHOLE.len(), put in "[\\PC\\n]{0,4}", cut in 0..8_usize) {
        let mut bytes = WHOLE.as_bytes().to_vec();
        bytes.splice(at..(at + cut).min(WHOLE.len()), put.bytes());
        let _ = parse(&bytes);
    }
}
