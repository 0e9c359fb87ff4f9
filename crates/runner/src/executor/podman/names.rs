//! Names of images: what they mean, and under which host names a service is found.

use regex::Regex;
use std::sync::OnceLock;

/// Longest name of an image.
const NAME_BYTES: usize = 512;

/// Whether this is a name of an image and nothing else that podman would take: no option, no transport that reads files.
pub(crate) fn is_image(name: &str) -> bool {
    static SHAPE: OnceLock<Option<Regex>> = OnceLock::new();
    let shape = SHAPE.get_or_init(|| {
        let word = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*";
        Regex::new(&format!(
            r"^(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{{1,5}})?/)?{word}(?:/{word})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(?:@sha256:[a-f0-9]{{64}})?$"
        ))
        .ok()
    });
    name.len() <= NAME_BYTES && shape.as_ref().is_some_and(|shape| shape.is_match(name))
}

/// The name with its registry and tag, as Docker completes it.
pub(super) fn whole(name: &str) -> String {
    let (first, rest) = name.split_once('/').unwrap_or(("", name));
    let has_registry = first.contains(['.', ':']) || first == "localhost";
    let mut whole = match (has_registry, first.is_empty()) {
        (true, _) => name.to_owned(),
        (false, true) => format!("docker.io/library/{rest}"),
        (false, false) => format!("docker.io/{name}"),
    };
    let last = whole.rsplit('/').next().unwrap_or_default();
    if !last.contains([':', '@']) {
        whole.push_str(":latest");
    }
    whole
}

/// Under which names it may lie on the machine already, best first.
pub(super) fn here(name: &str) -> Vec<String> {
    let whole = whole(name);
    let mut all = vec![whole.clone()];
    if whole.starts_with("docker.io/") && !name.starts_with("docker.io/") {
        let tag = whole
            .strip_prefix("docker.io/library/")
            .or(whole.strip_prefix("docker.io/"));
        all.extend(tag.map(|rest| format!("localhost/{rest}")));
    }
    all
}

/// The host names of a service by its image's name: `registry.example.org:5000/group/name:1` is
/// `registry.example.org-group-name` and `registry.example.org__group__name`.
pub(crate) fn hosts(image: &str) -> Vec<String> {
    let name = image.split('@').next().unwrap_or_default();
    let mut parts: Vec<&str> = name.split('/').collect();
    for part in &mut parts {
        *part = part.split(':').next().unwrap_or_default();
    }
    let mut all = vec![parts.join("__"), parts.join("-")];
    all.dedup();
    all
}

/// Whether a word can stand in a file of hosts.
pub(crate) fn is_host(word: &str) -> bool {
    !word.is_empty()
        && word.len() <= 253
        && word.starts_with(|c: char| c.is_ascii_alphanumeric())
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_images_and_no_other_way_to_read_the_machine() {
        for good in [
            "postgres",
            "postgres:16",
            "a/b-c_d/e__f:v1.0",
            "127.0.0.1:5000/g/p:1",
            "registry.example.org/x@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert!(is_image(good), "{good}");
        }
        for bad in [
            "",
            "-v",
            "--privileged",
            "dir:/etc",
            "docker-archive:/etc/passwd",
            "oci:/x:y",
            "docker://x/y",
            "a b",
            "a\nb",
            "../x",
            "x:",
        ] {
            assert!(!is_image(bad), "{bad}");
        }
    }

    #[test]
    fn names_are_completed_as_docker_does() {
        assert_eq!(whole("postgres:16"), "docker.io/library/postgres:16");
        assert_eq!(whole("g/p"), "docker.io/g/p:latest");
        assert_eq!(whole("localhost/x:1"), "localhost/x:1");
        assert_eq!(whole("r:5000/x"), "r:5000/x:latest");
        // Not the transport of that name.
        assert_eq!(whole("oci-archive:x"), "docker.io/library/oci-archive:x");
        assert_eq!(
            here("postgres:16"),
            ["docker.io/library/postgres:16", "localhost/postgres:16"]
        );
        assert_eq!(here("localhost/x"), ["localhost/x:latest"]);
    }

    #[test]
    fn services_are_found_by_the_documented_names() {
        assert_eq!(hosts("postgres:16"), ["postgres"]);
        assert_eq!(
            hosts("tutum/wordpress:latest"),
            ["tutum__wordpress", "tutum-wordpress"]
        );
        assert_eq!(
            hosts("registry.example.org:4999/tutum/wordpress"),
            [
                "registry.example.org__tutum__wordpress",
                "registry.example.org-tutum-wordpress"
            ]
        );
        assert!(is_host("db-1") && !is_host("-x") && !is_host("a b") && !is_host("a:1"));
    }
}
