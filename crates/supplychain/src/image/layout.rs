//! Reads an archive that holds an image, as `podman save --format oci-archive`, `buildah` and `docker save` make
//! them: where in it each blob lies. One pass, bounded memory, and each blob's digest is computed, not believed.

use bascule_core::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io::{self, Read},
    path::{Component, Path, PathBuf},
};

/// Most files in an archive.
const FILES: usize = 20_000;
/// Largest manifest, as registries commonly limit them.
const MANIFEST_BYTES: u64 = 4 * 1024 * 1024;
/// Most bytes of documents held at once while an archive is read.
const HELD_BYTES: u64 = 16 * 1024 * 1024;
/// Most manifests of one image.
const MANIFESTS: usize = 200;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// One blob of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageBlob {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Whether it is a manifest or an index of manifests.
    pub manifest: bool,
    /// Where in the archive it begins.
    pub position: u64,
    /// Its size in bytes.
    pub size: u64,
    /// The bytes of a manifest that the archive does not hold as such.
    pub content: Option<String>,
}

/// An image in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The manifest, or the index, that stands for it.
    pub root: Digest,
    /// All blobs, each once.
    pub blobs: Vec<ImageBlob>,
}

/// One file of the archive.
#[derive(Clone, Debug)]
struct File {
    position: u64,
    size: u64,
    digest: Digest,
    /// Its bytes, if it is a document.
    document: Option<Vec<u8>>,
}

#[derive(Default)]
struct Files {
    by_path: BTreeMap<PathBuf, File>,
    links: HashMap<PathBuf, PathBuf>,
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    urls: Vec<String>,
}

/// One image of docker's own kind of archive.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Docker {
    config: PathBuf,
    layers: Vec<PathBuf>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made<'a> {
    schema_version: u8,
    media_type: &'a str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// Finds the image in an archive.
///
/// # Errors
/// Why there is none that can be served, as the end of a sentence.
pub fn read(archive: impl Read) -> Result<Image, String> {
    let files = files(archive)?;
    if let Some(index) = files.by_path.get(Path::new("index.json")) {
        return oci(&files, index);
    }
    match files.document("manifest.json") {
        Some(text) => docker(&files, text),
        None => Err("it holds neither index.json nor manifest.json, so no image".to_owned()),
    }
}

fn files(archive: impl Read) -> Result<Files, String> {
    let broken = |error: io::Error| format!("it cannot be read as a tar archive: {error}");
    let (mut files, mut held) = (Files::default(), 0_u64);
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let Some(path) = plain(&entry.path().map_err(broken)?) else {
            continue;
        };
        if files.by_path.len() + files.links.len() >= FILES {
            return Err(format!("it holds more than {FILES} files"));
        }
        let kind = entry.header().entry_type();
        if kind.is_symlink() || kind.is_hard_link() {
            if let Some(target) = entry.link_name().map_err(broken)? {
                let folder = path
                    .parent()
                    .filter(|_| kind.is_symlink())
                    .unwrap_or(Path::new(""));
                files
                    .links
                    .extend(plain(&folder.join(target)).map(|target| (path, target)));
            }
            continue;
        }
        // A sparse file's bytes do not lie together.
        if !(kind.is_file() || kind.is_contiguous()) {
            continue;
        }
        let (position, size) = (entry.raw_file_position(), entry.size());
        let (digest, document) = take(&mut entry, size, &mut held).map_err(broken)?;
        files.by_path.insert(
            path,
            File {
                position,
                size,
                digest,
                document,
            },
        );
    }
    Ok(files)
}

/// Reads one file to its end; keeps it where it could be a document.
fn take(entry: &mut impl Read, size: u64, held: &mut u64) -> io::Result<(Digest, Option<Vec<u8>>)> {
    let (mut hash, mut read, mut buffer) = (Sha256::new(), 0_u64, vec![0_u8; 64 * 1024]);
    let mut document = None;
    loop {
        let some = match entry.read(&mut buffer)? {
            0 => break,
            some => buffer.get(..some).unwrap_or_default(),
        };
        hash.update(some);
        if read == 0 && size <= MANIFEST_BYTES && some.first().is_some_and(|byte| matches!(byte, b'{' | b'['))
        {
            *held += size;
            document = (*held <= HELD_BYTES).then(Vec::new);
        }
        read += some.len() as u64;
        if let Some(document) = &mut document {
            document.extend_from_slice(some);
        }
    }
    if read != size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((Digest::from_hash(&hash.finalize()), document))
}

/// A path without `.` and `..`; `None` for one that leads out.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => plain.push(part),
            Component::CurDir => {}
            Component::ParentDir if plain.pop() => {}
            _ => return None,
        }
    }
    Some(plain).filter(|path| !path.as_os_str().is_empty())
}

impl Files {
    fn document(&self, path: &str) -> Option<&[u8]> {
        self.by_path.get(Path::new(path))?.document.as_deref()
    }

    /// The file at a path, or where a link there leads.
    fn at(&self, path: &Path) -> Option<&File> {
        let mut path = plain(path)?;
        for _ in 0..8 {
            match self.links.get(&path) {
                Some(target) => path.clone_from(target),
                None => break,
            }
        }
        self.by_path.get(&path)
    }

    /// The blob that a descriptor means.
    fn blob(&self, descriptor: &Descriptor) -> Result<Option<&File>, String> {
        let digest: Digest = descriptor
            .digest
            .parse()
            .map_err(|why| format!("it names a blob by `{:.80}`: {why}", descriptor.digest))?;
        let Some(file) = self.by_path.get(&Path::new("blobs/sha256").join(digest.hex())) else {
            return Ok(None);
        };
        if file.digest != digest || file.size != descriptor.size {
            return Err(format!("the blob {digest} is not what its name says"));
        }
        Ok(Some(file))
    }
}

impl File {
    fn as_blob(&self, media_type: &str, manifest: bool) -> ImageBlob {
        ImageBlob {
            digest: self.digest.clone(),
            media_type: media_type.to_owned(),
            manifest,
            position: self.position,
            size: self.size,
            content: None,
        }
    }

    fn described(&self, media_type: &str) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            digest: self.digest.to_string(),
            size: self.size,
            urls: Vec::new(),
        }
    }
}

fn parsed<'a, T: Deserialize<'a>>(file: &'a File, what: &str) -> Result<T, String> {
    let text = file
        .document
        .as_deref()
        .ok_or_else(|| format!("{what} is no JSON document, or too large"))?;
    serde_json::from_slice(text).map_err(|error| format!("{what} cannot be read: {error}"))
}

fn oci(files: &Files, top: &File) -> Result<Image, String> {
    let index: Index = parsed(top, "index.json")?;
    let mut blobs = BTreeMap::new();
    let mut open: VecDeque<(Descriptor, bool)> = VecDeque::new();
    let root = match index.manifests.as_slice() {
        [] => return Err("its index.json names no image".to_owned()),
        [only] => {
            open.push_back((only.clone(), true));
            only.digest.parse().map_err(|why| format!("index.json: {why}"))?
        }
        // Of several, a runtime chooses by its machine's kind.
        several => {
            open.extend(several.iter().map(|one| (one.clone(), false)));
            blobs.insert(top.digest.clone(), top.as_blob(OCI_INDEX, true));
            top.digest.clone()
        }
    };
    let (mut seen, mut images) = (0, 0);
    while let Some((descriptor, needed)) = open.pop_front() {
        seen += 1;
        if seen > MANIFESTS {
            return Err(format!("it holds more than {MANIFESTS} manifests"));
        }
        let Some(file) = files.blob(&descriptor)? else {
            // An archive may carry only some of the machines' kinds that an index names.
            if needed {
                return Err(format!("it lacks the manifest {}", descriptor.digest));
            }
            continue;
        };
        if blobs.contains_key(&file.digest) {
            continue;
        }
        let kind = match descriptor.media_type.as_str() {
            "" => OCI_MANIFEST,
            kind => kind,
        };
        blobs.insert(file.digest.clone(), file.as_blob(kind, true));
        if matches!(kind, OCI_INDEX | DOCKER_INDEX) {
            let nested: Index = parsed(file, "an index")?;
            open.extend(nested.manifests.into_iter().map(|one| (one, false)));
            continue;
        }
        if !matches!(kind, OCI_MANIFEST | DOCKER_MANIFEST) {
            return Err(format!(
                "a manifest is of the kind `{kind:.80}`, which is not known here"
            ));
        }
        let manifest: Manifest = parsed(file, "a manifest")?;
        for part in std::iter::once(&manifest.config).chain(&manifest.layers) {
            match files.blob(part)? {
                Some(file) => {
                    blobs.insert(file.digest.clone(), file.as_blob(&part.media_type, false));
                }
                None if !part.urls.is_empty() => {}
                None => return Err(format!("it lacks the blob {}", part.digest)),
            }
        }
        images += 1;
    }
    if images == 0 {
        return Err("it holds none of the images that its index.json names".to_owned());
    }
    Ok(Image {
        root,
        blobs: blobs.into_values().collect(),
    })
}

/// Docker's own kind has no manifest as registries know it, so one is made of what it names.
fn docker(files: &Files, text: &[u8]) -> Result<Image, String> {
    let images: Vec<Docker> =
        serde_json::from_slice(text).map_err(|error| format!("manifest.json cannot be read: {error}"))?;
    let [image] = images.as_slice() else {
        return Err(format!("it holds {} images; save one alone", images.len()));
    };
    let find = |path: &Path| {
        files
            .at(path)
            .ok_or_else(|| format!("it lacks the file {}", path.display()))
    };
    let config = find(&image.config)?;
    let mut blobs = BTreeMap::from([(config.digest.clone(), config.as_blob(OCI_CONFIG, false))]);
    let mut layers = Vec::new();
    for path in &image.layers {
        let layer = find(path)?;
        blobs.insert(layer.digest.clone(), layer.as_blob(OCI_LAYER, false));
        layers.push(layer.described(OCI_LAYER));
    }
    let made = Made {
        schema_version: 2,
        media_type: OCI_MANIFEST,
        config: config.described(OCI_CONFIG),
        layers,
    };
    let content = serde_json::to_string(&made).map_err(|error| error.to_string())?;
    let root = Digest::of(content.as_bytes());
    blobs.insert(
        root.clone(),
        ImageBlob {
            digest: root.clone(),
            media_type: OCI_MANIFEST.to_owned(),
            manifest: true,
            position: 0,
            size: content.len() as u64,
            content: Some(content),
        },
    );
    Ok(Image {
        root,
        blobs: blobs.into_values().collect(),
    })
}
