//! A pipeline whose jobs name an image and a service: PostgreSQL, from the packages of this machine, under podman.

use crate::{
    BIN,
    fleet::{self, sh},
    product::rows,
};
use bascule_testkit::{Git, TestApp};
use std::{path::Path, process::Command};

/// What makes the image of a server from Debian's package. Its name tells of what it was made from, so that podman's own
/// store keeps it from one run of the tests to the next.
const IMAGE: &str = r#"
version=$(ls /usr/lib/postgresql | sort -n | tail -1)
recipe=1
name=localhost/bascule-test-postgres:$version-$recipe
podman image exists $name && { echo $name; exit 0; }
bin=/usr/lib/postgresql/$version/bin
c=$(buildah from scratch); m=$(buildah mount $c)
mkdir -p $m/bin $m/tmp $m/etc $m/usr/share/postgresql $m/usr/share/zoneinfo/Etc $m/var/lib/postgresql/data $m/usr/lib/postgresql/$version
chmod 1777 $m/tmp
cp /bin/busybox $m/bin/
for tool in $(/bin/busybox --list); do [ $tool = busybox ] || ln -s busybox $m/bin/$tool; done
cp -a /usr/share/postgresql/$version $m/usr/share/postgresql/
cp -aL /usr/share/zoneinfo/Etc/UTC $m/usr/share/zoneinfo/Etc/ ; cp -aL /usr/share/zoneinfo/UTC $m/usr/share/zoneinfo/
mkdir -p $m$bin
cp -aL $bin/postgres $bin/initdb $bin/psql $bin/pg_ctl $m$bin/
cp -aL /usr/lib/postgresql/$version/lib $m/usr/lib/postgresql/$version/
rm -rf $m/usr/lib/postgresql/$version/lib/bitcode $m/usr/lib/postgresql/$version/lib/llvmjit*
for program in $bin/postgres $bin/initdb $bin/psql $bin/pg_ctl $m/usr/lib/postgresql/$version/lib/dict_snowball.so; do
  ldd $program | grep -o '/[^ ]*' | while read library; do
    mkdir -p $m$(dirname $library); [ -e $m$library ] || cp -aL $library $m$library
  done
done
printf 'root:x:0:0::/root:/bin/sh\npostgres:x:999:999::/var/lib/postgresql:/bin/sh\n' > $m/etc/passwd
printf 'root:x:0:\npostgres:x:999:\n' > $m/etc/group
chown -R 999:999 $m/var/lib/postgresql
cat > $m/bin/serve <<'END'
#!/bin/sh
set -e
printf %s "$POSTGRES_PASSWORD" > /tmp/password
initdb -D "$PGDATA" -U "$POSTGRES_USER" --pwfile=/tmp/password --auth=scram-sha-256 --encoding=UTF8 --locale=C > /dev/null
echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
pg_ctl -D "$PGDATA" -w -o "-c listen_addresses='' -k /tmp" start > /dev/null
PGPASSWORD="$POSTGRES_PASSWORD" psql -q -h /tmp -U "$POSTGRES_USER" -d postgres -c "create database \"$POSTGRES_DB\""
pg_ctl -D "$PGDATA" -w stop > /dev/null
exec postgres -D "$PGDATA" -c listen_addresses='*' -k /tmp "$@"
END
chmod 755 $m/bin/serve
buildah umount $c >/dev/null
buildah config --user postgres --env PATH=$bin:/bin --env PGDATA=/var/lib/postgresql/data --port 5432 --entrypoint '["/bin/serve"]' --cmd '' $c
buildah commit -q --rm $c $name >/dev/null
echo $name
"#;

const CI: &str = r"stages: [build, test]
variables:
  POSTGRES_DB: shop
  POSTGRES_USER: app
  POSTGRES_PASSWORD: not-for-production
default:
  image: { name: IMAGE, entrypoint: [''] }
schema:
  stage: build
  cache: { key: tools, paths: [tools] }
  script:
    - mkdir -p out tools
    - if [ -e tools/made ]; then echo the cache was here; else echo made > tools/made; fi
    - echo 'create table goods (name text primary key, price numeric)' > out/schema.sql
  artifacts: { paths: [out] }
shop:
  stage: test
  services:
    - name: IMAGE
      alias: db
      command: [-c, max_connections=17]
  script:
    - export PGPASSWORD=$POSTGRES_PASSWORD PGHOST=db PGUSER=$POSTGRES_USER PGDATABASE=$POSTGRES_DB
    - psql -v ON_ERROR_STOP=1 -q -f out/schema.sql
    - psql -q -c $'insert into goods values (\'pear\', 1.25), (\'plum\', 0.5)'
    - psql -At -c 'select sum(price) from goods' > sum
    - test $(cat sum) = 1.75
    - psql -At -c 'show max_connections'
    - id -un
  artifacts: { paths: [sum] }
";

/// Whether podman and PostgreSQL's package are here; says which is not.
fn present() -> bool {
    let podman = Command::new("podman").arg("--version").output();
    for (there, what) in [
        (
            podman.is_ok_and(|out| out.status.success()),
            "podman is not installed (`apt install podman buildah`)",
        ),
        (
            Path::new("/usr/lib/postgresql").is_dir(),
            "PostgreSQL is not installed (`apt install postgresql`)",
        ),
    ] {
        if !there {
            fleet::note(&format!("skipped: {what}"));
            return false;
        }
    }
    true
}

/// A job's number, state and log.
pub(crate) fn job(app: &TestApp, project: &str, pipeline: &str, name: &str) -> (String, String) {
    let cli = app.cli();
    let shown = cli.json(&["pipeline", "show", project, pipeline]);
    let all = rows(&shown["jobs"]);
    let found = all
        .iter()
        .find(|job| job["name"] == name)
        .unwrap_or_else(|| panic!("no {name} in {shown}"));
    let id = found["id"].as_i64().unwrap().to_string();
    (
        found["status"].as_str().unwrap().to_owned(),
        cli.ok(&["job", "log", project, &id]),
    )
}

/// Waits for a project's newest pipeline; its number and how it ended.
pub(crate) async fn ended(app: &TestApp, project: &str) -> (String, String) {
    let cli = app.cli();
    let id = bascule_testkit::until("a pipeline", std::time::Duration::from_secs(30), async || {
        rows(&cli.json(&["pipeline", "list", project])).first()?["id"].as_i64()
    })
    .await
    .to_string();
    let output = cli.run(&["pipeline", "show", project, &id, "--wait", "--json"]);
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    (id, shown["status"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_with_image_and_a_postgresql_service_passes_in_containers() {
    if !present() {
        return;
    }
    let image = sh(IMAGE).trim().to_owned();
    let app = TestApp::start(BIN);
    drop(app.cli().ok(&["group", "create", "demo"]));
    drop(app.cli().ok(&["project", "create", "demo/shop"]));
    let git = Git::init();
    git.write(".gitlab-ci.yml", &CI.replace("IMAGE", &image));
    git.commit("A shop with a database");
    drop(git.ok(&["push", "-q", &app.remote("demo/shop", app.token()), "main"]));
    let (id, status) = ended(&app, "demo/shop").await;
    let (_, built) = job(&app, "demo/shop", &id, "schema");
    assert_eq!(
        status,
        "success",
        "{built}\n{}",
        job(&app, "demo/shop", &id, "shop").1
    );
    let (_, log) = job(&app, "demo/shop", &id, "shop");
    for part in [
        "listens on 5432",
        "db",
        "\n17\n",
        "\npostgres\n",
        "sum: found 1 matching files",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
    // Nothing is left of it.
    let builds = app.data().join("runner/builds").canonicalize().unwrap();
    let mark = sh(&format!(
        "printf %s {} | sha256sum | head -c 16",
        builds.display()
    ));
    let left = sh(&format!(
        "podman ps -aq --filter label=bascule.runner={mark} 2>/dev/null; podman network ls -q --filter label=bascule.runner={mark} 2>/dev/null"
    ));
    assert_eq!(left, "");
    // Again: the cache is there.
    git.write("more", "x");
    git.commit("More");
    drop(git.ok(&["push", "-q", &app.remote("demo/shop", app.token()), "main"]));
    bascule_testkit::until(
        "a second pipeline",
        std::time::Duration::from_secs(30),
        async || (rows(&app.cli().json(&["pipeline", "list", "demo/shop"])).len() == 2).then_some(()),
    )
    .await;
    let (id, status) = ended(&app, "demo/shop").await;
    let (_, log) = job(&app, "demo/shop", &id, "schema");
    assert_eq!(status, "success", "{log}");
    assert!(log.contains("\nthe cache was here\n"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_in_containers_pulls_its_projects_own_image_with_its_own_token() {
    if !present() {
        return;
    }
    let app = TestApp::start(BIN);
    let git = fleet::create(&app);
    let version = fleet::Version {
        image: true,
        ..fleet::Version::new("1.0.0")
    };
    version.release(&app, &git).await;
    let before = rows(&app.cli().json(&["pipeline", "list", fleet::PROJECT])).len();
    let image = format!(
        "{}/{}:1.0.0",
        app.url().strip_prefix("http://").unwrap(),
        fleet::PROJECT
    );
    git.write(
        ".gitlab-ci.yml",
        &format!("inside:\n  image: {{ name: \"{image}\", entrypoint: [''] }}\n  script: [echo in the image, test -x /service]\n"),
    );
    git.commit("Run in what we released");
    drop(git.ok(&["push", "-q", "origin", "HEAD:refs/heads/inside"]));
    bascule_testkit::until("the pipeline", std::time::Duration::from_secs(30), async || {
        (rows(&app.cli().json(&["pipeline", "list", fleet::PROJECT])).len() > before).then_some(())
    })
    .await;
    let (id, status) = ended(&app, fleet::PROJECT).await;
    let (_, log) = job(&app, fleet::PROJECT, &id, "inside");
    drop(Command::new("podman").args(["rmi", "--force", &image]).output());
    assert_eq!(status, "success", "{log}");
    for part in ["Pulling the image", "\nin the image\n"] {
        assert!(log.contains(part), "{part}: {log}");
    }
}
