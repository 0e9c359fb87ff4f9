//! `go.sum`: one line per module with the hash of its files, one with the hash of its `go.mod` alone.

use super::{Algorithm, Checksum, Component, Ecosystem, Inventory, LockfileError, Source};

pub(super) fn read(source: &Source<'_>) -> Result<Inventory, LockfileError> {
    let mut inventory = Inventory::of(source.path);
    // The file lists modules, not who needs whom, nor which of them the build chose.
    inventory.without_edges.insert(source.path.to_owned());
    for (index, line) in source.text.lines().enumerate() {
        let number = index + 1;
        let fault = |reason: String| source.error(Some(number), reason);
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (module, version, hash) = match fields.as_slice() {
            [] => continue,
            [module, version, hash] => (*module, *version, *hash),
            _ => return Err(fault("a line holds a module, a version and a hash".to_owned())),
        };
        let base64 = hash.strip_prefix("h1:").ok_or_else(|| {
            fault(format!(
                "`{}` is not a hash of kind `h1:`",
                super::checksum::cut(hash)
            ))
        })?;
        let checksum = Checksum::from_base64(Algorithm::Sha256, base64).map_err(fault)?;
        // The hash of go.mod proves what a module asks for; the module itself is then not part of the build.
        if version.ends_with("/go.mod") {
            continue;
        }
        if !version.starts_with('v') {
            return Err(fault(format!(
                "`{}` is not a Go version such as v1.2.3",
                super::checksum::cut(version)
            )));
        }
        let mut component = Component::new(Ecosystem::Golang, module, Some(version), &[]).map_err(fault)?;
        component.checksums.insert(checksum);
        component.lockfiles.insert(source.path.to_owned());
        inventory.add(component);
    }
    Ok(inventory)
}
