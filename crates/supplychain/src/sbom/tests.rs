//! The readers against written samples, against generated ones, and against noise; the documents against
//! the published schema.

use super::*;
use bascule_core::Timestamp;
use cyclonedx::{Bom, Subject};
use proptest::prelude::*;
use std::collections::BTreeSet;

const SUM: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const H1: &str = "h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
const SRI: &str = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

fn read(path: &str, text: &str) -> Inventory {
    Lockfile::at(path)
        .expect("a lockfile's name")
        .read(path, text.as_bytes())
        .expect("a good lockfile")
}

fn refusal(path: &str, text: &str) -> String {
    let kind = Lockfile::at(path).expect("a lockfile's name");
    kind.read(path, text.as_bytes())
        .expect_err("a bad lockfile")
        .to_string()
}

fn purls(inventory: &Inventory) -> Vec<&str> {
    inventory
        .components()
        .map(|component| component.purl.as_str())
        .collect()
}

fn depends_on(inventory: &Inventory, purl: &str) -> Vec<String> {
    inventory
        .get(purl)
        .expect(purl)
        .depends_on
        .iter()
        .cloned()
        .collect()
}

fn subject() -> Subject<'static> {
    Subject {
        project: "clinic/portal",
        version: "1.0.0",
        commit: "0123456789abcdef",
        at: Timestamp::from_seconds(1_720_111_500),
    }
}

#[test]
fn lockfiles_are_known_by_name_but_not_inside_other_peoples_packages() {
    assert_eq!(Lockfile::at("Cargo.lock"), Some(Lockfile::Cargo));
    assert_eq!(
        Lockfile::at("services/web/package-lock.json"),
        Some(Lockfile::Npm)
    );
    for foreign in [
        "node_modules/a/package-lock.json",
        "x/vendor/y/go.sum",
        "target/package/Cargo.lock",
        "Cargo.toml",
    ] {
        assert_eq!(Lockfile::at(foreign), None, "{foreign}");
    }
}

#[test]
fn this_projects_own_lockfile_lists_every_crate() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock");
    let text = std::fs::read_to_string(path).unwrap();
    let inventory = read("Cargo.lock", &text);
    let entries = text.lines().filter(|line| *line == "[[package]]").count();
    assert_eq!(inventory.len(), entries);
    assert!(
        inventory
            .roots
            .iter()
            .any(|root| root.starts_with("pkg:cargo/bascule@")),
        "{:?}",
        inventory.roots
    );
    for component in inventory.components() {
        assert!(
            component.local != (component.checksums.len() == 1),
            "{}",
            component.purl
        );
    }
}

#[test]
fn cargo_formats_one_to_four_give_the_same_graph() {
    let registry = "registry+https://index.example/crates.io-index";
    let one = format!(
        "[[package]]\nname = \"app\"\nversion = \"0.1.0\"\ndependencies = [\n \"rand 0.7.2 ({registry})\",\n]\n\n\
         [[package]]\nname = \"rand\"\nversion = \"0.7.2\"\nsource = \"{registry}\"\n\n\
         [metadata]\n\"checksum rand 0.7.2 ({registry})\" = \"{SUM}\"\n"
    );
    let body = format!(
        "[[package]]\nname = \"app\"\nversion = \"0.1.0\"\ndependencies = [\n \"rand\",\n]\n\n\
         [[package]]\nname = \"rand\"\nversion = \"0.7.2\"\nsource = \"{registry}\"\nchecksum = \"{SUM}\"\n"
    );
    let first = read("Cargo.lock", &one);
    assert_eq!(purls(&first), ["pkg:cargo/app@0.1.0", "pkg:cargo/rand@0.7.2"]);
    assert_eq!(
        depends_on(&first, "pkg:cargo/app@0.1.0"),
        ["pkg:cargo/rand@0.7.2"]
    );
    assert_eq!(first.roots, BTreeSet::from(["pkg:cargo/app@0.1.0".to_owned()]));
    for text in [
        body.clone(),
        format!("version = 3\n\n{body}"),
        format!("version = 4\n\n{body}"),
    ] {
        assert_eq!(read("Cargo.lock", &text), first);
    }
}

#[test]
fn cargo_names_git_sources_and_other_registries() {
    let text = "version = 4\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"git+https://h/a?branch=main#abc\"\n\
                [[package]]\nname = \"b\"\nversion = \"1.0.0\"\nsource = \"sparse+https://r.example/index/\"\n\
                [[package]]\nname = \"c\"\nversion = \"1.0.0\"\ndependencies = [\"a 1.0.0 (git+https://h/a?branch=main)\", \"b\"]\n";
    let inventory = read("Cargo.lock", text);
    let (a, b) = (
        "pkg:cargo/a@1.0.0?vcs_url=git%2Bhttps:%2F%2Fh%2Fa%40abc",
        "pkg:cargo/b@1.0.0?repository_url=https:%2F%2Fr.example%2Findex%2F",
    );
    assert_eq!(depends_on(&inventory, "pkg:cargo/c@1.0.0"), [a, b]);
}

#[test]
fn cargo_faults_are_named_with_their_line() {
    let missing =
        "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\ndependencies = [\n \"gone\",\n]\n";
    assert!(refusal("x/Cargo.lock", missing).starts_with("x/Cargo.lock:7: a 1.0.0 depends on `gone`"));
    let checksum =
        "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"registry+x\"\nchecksum = \"zz\"\n";
    assert!(
        refusal("Cargo.lock", checksum).starts_with("Cargo.lock:5: a 1.0.0: `zz` is not a SHA-256 checksum")
    );
    assert!(refusal("Cargo.lock", "version = 4\n[[package\n").starts_with("Cargo.lock:2: "));
    assert!(refusal("Cargo.lock", "[[package]]\nname = \"a\"\n").contains("version"));
    assert!(refusal("Cargo.lock", "version = 9\n").starts_with("Cargo.lock:1: format 9"));
}

const NPM_PACKAGES: &str = r#"{
  "name": "app", "version": "1.0.0", "lockfileVersion": 3,
  "packages": {
    "": {"name": "app", "version": "1.0.0", "workspaces": ["ws/*"], "dependencies": {"a": "^1", "@s/b": "2"}, "devDependencies": {"t": "1"}},
    "node_modules/a": {"version": "1.0.0", "resolved": "https://r.example/a/-/a-1.0.0.tgz", "integrity": "SRI", "dependencies": {"c": "1"}, "peerDependencies": {"absent": "*"}},
    "node_modules/a/node_modules/c": {"version": "1.5.0", "integrity": "SRI"},
    "node_modules/c": {"version": "2.0.0", "integrity": "SRI", "optional": true},
    "node_modules/@s/b": {"version": "2.0.0", "integrity": "SRI", "dependencies": {"c": "2"}},
    "node_modules/t": {"version": "1.0.0", "integrity": "SRI", "dev": true},
    "node_modules/alias": {"name": "real", "version": "3.0.0", "integrity": "SRI"},
    "node_modules/from-git": {"version": "1.0.0", "resolved": "git+ssh://git@h/x.git#abc"},
    "node_modules/member": {"resolved": "ws/member", "link": true},
    "ws/member": {"name": "member", "version": "0.1.0", "dependencies": {"a": "1"}, "devDependencies": {"t": "1"}}
  }
}"#;

#[test]
fn npm_resolves_as_node_does() {
    let inventory = read("package-lock.json", &NPM_PACKAGES.replace("SRI", SRI));
    assert_eq!(
        purls(&inventory),
        [
            "pkg:npm/%40s/b@2.0.0",
            "pkg:npm/a@1.0.0",
            "pkg:npm/c@1.5.0",
            "pkg:npm/c@2.0.0",
            "pkg:npm/from-git@1.0.0?vcs_url=git%2Bssh:%2F%2Fgit%40h%2Fx.git%40abc",
            "pkg:npm/member@0.1.0",
            "pkg:npm/real@3.0.0",
            "pkg:npm/t@1.0.0",
        ]
    );
    assert_eq!(depends_on(&inventory, "pkg:npm/a@1.0.0"), ["pkg:npm/c@1.5.0"]);
    assert_eq!(
        depends_on(&inventory, "pkg:npm/%40s/b@2.0.0"),
        ["pkg:npm/c@2.0.0"]
    );
    assert_eq!(
        depends_on(&inventory, "pkg:npm/member@0.1.0"),
        ["pkg:npm/a@1.0.0", "pkg:npm/t@1.0.0"]
    );
    let roots: Vec<&str> = inventory.roots.iter().map(String::as_str).collect();
    assert_eq!(
        roots,
        [
            "pkg:npm/%40s/b@2.0.0",
            "pkg:npm/a@1.0.0",
            "pkg:npm/member@0.1.0",
            "pkg:npm/t@1.0.0"
        ]
    );
    let need = |purl: &str| inventory.get(purl).map(|component| component.need);
    assert_eq!(need("pkg:npm/t@1.0.0"), Some(Need::Development));
    assert_eq!(need("pkg:npm/c@2.0.0"), Some(Need::Optional));
    assert_eq!(
        inventory
            .get("pkg:npm/a@1.0.0")
            .unwrap()
            .checksums
            .first()
            .unwrap()
            .hex,
        SUM
    );
}

#[test]
fn npm_format_one_is_a_tree() {
    let text = r#"{"name": "app", "lockfileVersion": 1, "requires": true, "dependencies": {
        "a": {"version": "1.0.0", "resolved": "https://r.example/a/-/a-1.0.0.tgz", "integrity": "SRI", "requires": {"c": "1"},
              "dependencies": {"c": {"version": "1.5.0", "bundled": true, "resolved": false}}},
        "c": {"version": "2.0.0", "integrity": "SRI", "dev": true},
        "d": {"version": "npm:@s/real@4.0.0", "requires": {"c": "2"}},
        "g": {"version": "git+https://h/g.git#abc", "from": "git+https://h/g.git"}}}"#;
    let inventory = read("package-lock.json", &text.replace("SRI", SRI));
    assert_eq!(
        purls(&inventory),
        [
            "pkg:npm/%40s/real@4.0.0",
            "pkg:npm/a@1.0.0",
            "pkg:npm/c@1.5.0",
            "pkg:npm/c@2.0.0",
            "pkg:npm/g?vcs_url=git%2Bhttps:%2F%2Fh%2Fg.git%40abc",
        ]
    );
    assert_eq!(depends_on(&inventory, "pkg:npm/a@1.0.0"), ["pkg:npm/c@1.5.0"]);
    assert_eq!(
        depends_on(&inventory, "pkg:npm/%40s/real@4.0.0"),
        ["pkg:npm/c@2.0.0"]
    );
    assert!(!inventory.roots.contains("pkg:npm/c@2.0.0"));
}

#[test]
fn npm_faults_are_named_with_their_line() {
    let text = "{\"lockfileVersion\": 3,\n\"packages\": {\n\"node_modules/a\": {\"version\": \"1\",\n\"integrity\": \"sha512-AAAA\"}}}";
    assert!(refusal("package-lock.json", text).starts_with("package-lock.json:4: node_modules/a: `AAAA`"));
    assert!(refusal("package-lock.json", "{\n\"packages\": 3}").starts_with("package-lock.json:2: "));
    assert!(refusal("package-lock.json", "{\"lockfileVersion\": 4}").contains("format 4"));
    let name = "{\"packages\": {\n\"node_modules/@bad\": {\"version\": \"1\"}}}";
    assert!(
        refusal("package-lock.json", name).starts_with("package-lock.json:2: `@bad` is no npm package name")
    );
}

#[test]
fn requirements_are_read_as_pip_reads_them() {
    let text = format!(
        "# tools\n-r base.txt\n--index-url https://i.example/simple\nDjango==4.2.1 ; python_version >= \"3.8\"  # web\n\
         zope.interface[test, docs] == 5.0 \\\n    --hash=sha256:{SUM} \\\n    --hash=md5:{}\nloose>=1.0,<2\nx @ https://h/x-1.whl ; os_name == 'nt'\ny==1.*\n",
        &SUM[..32]
    );
    let inventory = read("requirements.txt", &text);
    assert_eq!(
        purls(&inventory),
        [
            "pkg:pypi/django@4.2.1",
            "pkg:pypi/loose",
            "pkg:pypi/x?download_url=https:%2F%2Fh%2Fx-1.whl",
            "pkg:pypi/y",
            "pkg:pypi/zope-interface@5.0",
        ]
    );
    assert_eq!(
        inventory
            .get("pkg:pypi/zope-interface@5.0")
            .unwrap()
            .checksums
            .len(),
        2
    );
    let markers = &inventory.get("pkg:pypi/django@4.2.1").unwrap().markers;
    assert_eq!(
        markers.first().map(String::as_str),
        Some("python_version >= \"3.8\"")
    );
    let noted: Vec<usize> = inventory.notes.iter().map(|note| note.line).collect();
    assert_eq!(noted, [2, 8, 10]);
}

#[test]
fn requirements_by_path_or_address_are_listed_when_they_say_their_name() {
    let text = "./local\n.\nhttps://h/x.whl\ngit+https://h/y@v1#egg=Y_z[extra]&x=1\n";
    let inventory = read("requirements.txt", text);
    assert_eq!(
        purls(&inventory),
        ["pkg:pypi/y-z?vcs_url=git%2Bhttps:%2F%2Fh%2Fy%40v1"]
    );
    assert_eq!(
        inventory.notes.iter().map(|note| note.line).collect::<Vec<_>>(),
        [1, 2, 3]
    );
}

#[test]
fn requirements_faults_are_named_with_their_line() {
    assert!(refusal("requirements.txt", "a==1\n\n==3\n").starts_with("requirements.txt:3: "));
    assert!(refusal("requirements.txt", "a=1").contains("not a version specifier"));
    assert!(refusal("requirements.txt", "a[x==1").contains("not closed"));
    assert!(refusal("requirements.txt", "a==1 --hash=sha256:0").starts_with("requirements.txt:1: "));
}

#[test]
fn poetry_old_and_new_formats_are_read() {
    let new = format!(
        "[[package]]\nname = \"Requests\"\nversion = \"2.31.0\"\noptional = false\ngroups = [\"main\"]\nfiles = [{{file = \"r.whl\", hash = \"sha256:{SUM}\"}}]\n\n\
         [package.dependencies]\ncharset_normalizer = \">=2\"\nPySocks = {{version = \"1\", optional = true}}\n\n\
         [[package]]\nname = \"charset-normalizer\"\nversion = \"3.0.0\"\nmarkers = \"os_name == 'nt'\"\n\n\
         [[package]]\nname = \"pytest\"\nversion = \"8.0.0\"\ngroups = [\"dev\"]\n\n\
         [metadata]\nlock-version = \"2.1\"\n"
    );
    let inventory = read("poetry.lock", &new);
    assert_eq!(
        depends_on(&inventory, "pkg:pypi/requests@2.31.0"),
        ["pkg:pypi/charset-normalizer@3.0.0"]
    );
    assert_eq!(
        inventory.get("pkg:pypi/pytest@8.0.0").unwrap().need,
        Need::Development
    );
    assert!(!inventory.roots.contains("pkg:pypi/charset-normalizer@3.0.0"));

    let old = format!(
        "[[package]]\ncategory = \"dev\"\nname = \"attrs\"\noptional = false\nversion = \"19.1.0\"\n\n\
         [metadata]\n[metadata.files]\nattrs = [{{file = \"a.whl\", hash = \"sha256:{SUM}\"}}]\n"
    );
    let attrs = read("poetry.lock", &old);
    let attrs = attrs.get("pkg:pypi/attrs@19.1.0").unwrap();
    assert_eq!((attrs.need, attrs.checksums.len()), (Need::Development, 1));
    let bad =
        "[[package]]\nname = \"a\"\nversion = \"1\"\nfiles = [\n {file = \"a\", hash = \"sha256:x\"},\n]\n";
    assert!(refusal("poetry.lock", bad).starts_with("poetry.lock:5: a: `x`"));
}

#[test]
fn go_sum_counts_modules_not_their_go_mod_files() {
    let text = format!(
        "a.b/c v1.0.0 {H1}\na.b/c v1.0.0/go.mod {H1}\na.b/d v0.9.0/go.mod {H1}\na.b/e/v2 v2.0.0+incompatible {H1}\n"
    );
    let inventory = read("go.sum", &text);
    assert_eq!(
        purls(&inventory),
        [
            "pkg:golang/a.b/c@v1.0.0",
            "pkg:golang/a.b/e/v2@v2.0.0%2Bincompatible"
        ]
    );
    assert!(refusal("go.sum", &format!("a.b/c v1.0.0 {H1}\na v1\n")).starts_with("go.sum:2: "));
    assert!(refusal("go.sum", "a v1 h2:x").contains("h1:"));
    assert!(refusal("go.sum", "a v1 h1:x").starts_with("go.sum:1: "));
}

#[test]
fn a_file_over_the_limit_or_not_text_is_refused() {
    let big = vec![b' '; bascule_core::limits::LOCKFILE_BYTES + 1];
    assert!(
        Lockfile::GoSum
            .read("go.sum", &big)
            .unwrap_err()
            .reason
            .contains("bytes")
    );
    let error = Lockfile::Cargo.read("Cargo.lock", b"a = 1\n\xff").unwrap_err();
    assert_eq!(
        (error.line, error.reason.as_str()),
        (Some(2), "it is not UTF-8 text")
    );
}

fn everything() -> Inventory {
    let requirements =
        format!("-r x\nDjango==4.2.1 ; python_version >= \"3.8\" --hash=sha256:{SUM}\nloose\n");
    let go = format!("a.b/c v1.0.0 {H1}\n");
    let npm = NPM_PACKAGES.replace("SRI", SRI);
    let cargo = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock")).unwrap();
    read_all([
        ("Cargo.lock", cargo.as_slice()),
        ("web/package-lock.json", npm.as_bytes()),
        ("requirements.txt", requirements.as_bytes()),
        ("go.sum", go.as_bytes()),
        ("README.md", b"no lockfile".as_slice()),
    ])
    .unwrap()
}

#[test]
fn documents_are_the_same_each_time_and_read_back() {
    let bom = Bom::new(&everything(), &subject());
    assert_eq!(bom.to_json(), Bom::new(&everything(), &subject()).to_json());
    assert_eq!(Bom::from_json(&bom.to_json()), Ok(bom.clone()));
    assert_eq!(bom.commit(), Some("0123456789abcdef"));
    let document = spdx::Document::new(&everything(), &subject());
    assert_eq!(
        spdx::Document::from_json(&document.to_json()),
        Ok(document.clone())
    );
    assert_eq!(document.packages.len(), bom.components.len() + 1);
    let ids: BTreeSet<&str> = document
        .packages
        .iter()
        .map(|package| package.id.as_str())
        .collect();
    for relationship in &document.relationships {
        assert!(
            ids.contains(relationship.related_spdx_element.as_str()),
            "{relationship:?}"
        );
    }
    assert!(Bom::from_json(b"{}").is_err());
}

#[test]
fn every_reference_of_the_document_leads_to_a_component() {
    let bom = Bom::new(&everything(), &subject());
    let mut refs: BTreeSet<&str> = bom
        .components
        .iter()
        .filter_map(|part| part.bom_ref.as_deref())
        .collect();
    assert_eq!(refs.len(), bom.components.len(), "bom-refs are unique");
    refs.extend(bom.metadata.component.bom_ref.as_deref());
    for dependency in &bom.dependencies {
        assert!(
            refs.contains(dependency.reference.as_str()),
            "{}",
            dependency.reference
        );
        for on in &dependency.depends_on {
            assert!(refs.contains(on.as_str()), "{on}");
        }
    }
}

/// The folder of the published schemas: from the npm package that the set-up step installs for the tests.
fn schema(name: &str) -> serde_json::Value {
    let installed = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/browser/node_modules/@cyclonedx/cyclonedx-library/res/schema"
    );
    let folder = std::env::var("BASCULE_CYCLONEDX_SCHEMAS").unwrap_or_else(|_| installed.to_owned());
    let path = format!("{folder}/{name}");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{path}: {error}; run `make setup`, which installs the published schemas")
    });
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_cyclonedx_document_is_valid_by_its_published_schema() {
    let mut options = jsonschema::options();
    for name in ["spdx.SNAPSHOT.schema.json", "jsf-0.82.SNAPSHOT.schema.json"] {
        let resource = jsonschema::Resource::from_contents(schema(name)).unwrap();
        options = options.with_resource(format!("http://cyclonedx.org/schema/{name}"), resource);
    }
    let validator = options.build(&schema("bom-1.6.SNAPSHOT.schema.json")).unwrap();
    let mut document = serde_json::from_slice(&Bom::new(&everything(), &subject()).to_json()).unwrap();
    let faults: Vec<String> = validator
        .iter_errors(&document)
        .map(|error| format!("{}: {error}", error.instance_path))
        .collect();
    assert_eq!(faults, Vec::<String>::new());
    // The validator does look: a broken document must not pass.
    document["components"][0]["hashes"] = serde_json::json!([{"alg": "SHA-256", "content": "zz"}]);
    assert!(!validator.is_valid(&document));
}

type Generated = std::collections::BTreeMap<String, (u8, u8, u8)>;

fn packages(name: &'static str) -> impl Strategy<Value = Generated> {
    proptest::collection::btree_map(name, any::<(u8, u8, u8)>(), 0..20)
}

fn version((major, minor, patch): (u8, u8, u8)) -> String {
    format!("{major}.{minor}.{patch}")
}

fn expected(kind: &str, generated: &Generated) -> BTreeSet<String> {
    generated
        .iter()
        .map(|(name, numbers)| format!("pkg:{kind}/{name}@{}", version(*numbers)))
        .collect()
}

fn found(path: &str, text: &str) -> BTreeSet<String> {
    read(path, text)
        .components()
        .map(|component| component.purl.clone())
        .collect()
}

proptest! {
    #[test]
    fn cargo_finds_each_package_written(all in packages("[a-z][a-z0-9_]{0,9}")) {
        let names: Vec<String> = all.keys().map(|name| format!("\"{name}\"")).collect();
        let mut text = "version = 4\n".to_owned();
        for (name, numbers) in &all {
            text += &format!("[[package]]\nname = \"{name}\"\nversion = \"{}\"\nsource = \"registry+https://index.example/crates.io-index\"\nchecksum = \"{SUM}\"\ndependencies = [{}]\n", version(*numbers), names.join(", "));
        }
        let inventory = read("Cargo.lock", &text);
        prop_assert_eq!(expected("cargo", &all), found("Cargo.lock", &text));
        prop_assert!(inventory.components().all(|component| component.depends_on.len() == all.len()));
    }

    #[test]
    fn npm_finds_each_package_written_in_each_format(all in packages("[a-z][a-z0-9-]{0,8}[a-z0-9]")) {
        let entry = |numbers: &(u8, u8, u8)| serde_json::json!({"version": version(*numbers), "integrity": SRI});
        let old: serde_json::Map<_, _> = all.iter().map(|(name, numbers)| (name.clone(), entry(numbers))).collect();
        let flat: serde_json::Map<_, _> = all.iter().map(|(name, numbers)| (format!("node_modules/{name}"), entry(numbers))).collect();
        for lock in [
            serde_json::json!({"lockfileVersion": 1, "dependencies": old}),
            serde_json::json!({"lockfileVersion": 2, "dependencies": old, "packages": flat}),
            serde_json::json!({"lockfileVersion": 3, "packages": flat}),
        ] {
            prop_assert_eq!(expected("npm", &all), found("package-lock.json", &lock.to_string()));
        }
    }

    #[test]
    fn requirements_finds_each_pin_written(all in packages("[a-z][a-z0-9]{0,9}")) {
        let text: String = all.iter().map(|(name, numbers)| format!("{name}=={} \\\n  --hash=sha256:{SUM}\n", version(*numbers))).collect();
        prop_assert_eq!(expected("pypi", &all), found("requirements.txt", &text));
        prop_assert!(read("requirements.txt", &text).components().all(|component| component.checksums.len() == 1));
    }

    #[test]
    fn poetry_finds_each_package_written(all in packages("[a-z][a-z0-9]{0,9}")) {
        let text: String = all.iter().map(|(name, numbers)| format!("[[package]]\nname = \"{name}\"\nversion = \"{}\"\n", version(*numbers))).collect();
        prop_assert_eq!(expected("pypi", &all), found("poetry.lock", &text));
    }

    #[test]
    fn go_sum_finds_each_module_written(all in packages("[a-z]{1,5}\\.[a-z]{2}/[a-z]{1,9}")) {
        let text: String = all.iter().map(|(name, numbers)| format!("{name} v{0} {H1}\n{name} v{0}/go.mod {H1}\n", version(*numbers))).collect();
        let expected: BTreeSet<String> = all.iter().map(|(name, numbers)| format!("pkg:golang/{name}@v{}", version(*numbers))).collect();
        prop_assert_eq!(expected, found("go.sum", &text));
    }

    /// Noise, and good files with a piece torn out or put in, give a value or an error, never a panic.
    #[test]
    fn no_input_panics(noise in proptest::collection::vec(any::<u8>(), 0..200), text in "\\PC*", at in 0usize..2000, cut in 0usize..50) {
        let npm = NPM_PACKAGES.replace("SRI", SRI);
        let cargo = format!("version = 4\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"{SUM}\"\ndependencies = [\"a\"]\n");
        let requirements = format!("a[b]==1 ; c --hash=sha256:{SUM} \\\n#x\nb @ c\n");
        let poetry = format!("[[package]]\nname = \"a\"\nversion = \"1\"\nfiles = [{{hash = \"sha256:{SUM}\"}}]\n[package.dependencies]\na = \"1\"\n");
        let go = format!("a.b/c v1.0.0 {H1}\n");
        for (kind, good) in [(Lockfile::Cargo, &cargo), (Lockfile::Npm, &npm), (Lockfile::Requirements, &requirements), (Lockfile::Poetry, &poetry), (Lockfile::GoSum, &go)] {
            let mut torn = good.clone().into_bytes();
            let at = at % (torn.len() + 1);
            let end = (at + cut).min(torn.len());
            torn.splice(at..end, noise.iter().copied());
            let mut worded = good.clone().into_bytes();
            worded.splice(at..end, text.bytes());
            for bytes in [noise.as_slice(), text.as_bytes(), &torn, &worded] {
                let _ = kind.read("some/file", bytes);
            }
        }
    }
}
