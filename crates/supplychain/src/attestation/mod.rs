//! Who built what from what: an in-toto statement (v1) with SLSA provenance (v1), in a signed envelope.

pub mod dsse;

use bascule_core::{Digest, Timestamp};
use bascule_ledger::{InstanceKey, PublicKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The payload type of a statement in an envelope.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// The media type of a provenance file: a signed envelope.
pub const MEDIA_TYPE: &str = "application/vnd.in-toto.provenance+dsse";
/// The type of a statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The type of the provenance in it.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";
/// How our pipelines build: the jobs of a `.gitlab-ci.yml`, run for one commit.
pub const BUILD_TYPE: &str = "urn:bascule:build:gitlab-ci:1";

/// A digest by algorithm, as in-toto writes it.
pub type DigestSet = BTreeMap<String, String>;

/// A SHA-256 digest as in-toto writes it.
#[must_use]
pub fn digest_set(digest: &Digest) -> DigestSet {
    BTreeMap::from([("sha256".to_owned(), digest.hex().to_owned())])
}

/// A claim about some artifacts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// Always [`STATEMENT_TYPE`].
    #[serde(rename = "_type")]
    pub kind: String,
    /// The artifacts.
    pub subject: Vec<ResourceDescriptor>,
    /// Always [`PREDICATE_TYPE`].
    pub predicate_type: String,
    /// The claim.
    pub predicate: Provenance,
}

/// Something with a name and a digest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceDescriptor {
    /// Its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where it is found.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uri: String,
    /// Its digests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digest: DigestSet,
    /// Its type.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
}

/// How artifacts came to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provenance {
    /// What was to be built, from what.
    pub build_definition: BuildDefinition,
    /// How that went.
    pub run_details: RunDetails,
}

/// What was to be built, from what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildDefinition {
    /// Always [`BUILD_TYPE`].
    pub build_type: String,
    /// What the outside chose.
    pub external_parameters: ExternalParameters,
    /// What the platform chose.
    pub internal_parameters: InternalParameters,
    /// What went in.
    pub resolved_dependencies: Vec<ResourceDescriptor>,
}

/// What the outside chose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalParameters {
    /// `group/project`.
    pub project: String,
    /// The reference, as `refs/tags/…`.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The file that says how to build.
    pub configuration: String,
}

/// What the platform chose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InternalParameters {
    /// The pipeline.
    pub pipeline: i64,
    /// The release job.
    pub job: i64,
    /// The runner of the release job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<String>,
}

/// How the build went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunDetails {
    /// Who vouches for it.
    pub builder: Builder,
    /// When it ran.
    pub metadata: BuildMetadata,
    /// What came out beside the artifacts: the SBOMs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub byproducts: Vec<ResourceDescriptor>,
}

/// Who vouches for a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Builder {
    /// The instance, by the name of its key.
    pub id: String,
    /// Versions of what it consists of.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub version: BTreeMap<String, String>,
}

/// When a build ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildMetadata {
    /// This run.
    pub invocation_id: String,
    /// Its beginning.
    pub started_on: Timestamp,
    /// Its end.
    pub finished_on: Timestamp,
}

/// All that provenance is made of.
#[derive(Clone, Debug)]
pub struct Build<'a> {
    /// `group/project`.
    pub project: &'a str,
    /// The reference that was built, such as `refs/tags/v1.0.0`.
    pub reference: &'a str,
    /// The commit.
    pub commit: &'a str,
    /// Where the project's code is found, a URI.
    pub source: &'a str,
    /// Digest of the CI file.
    pub ci_file: Option<&'a Digest>,
    /// The pipeline.
    pub pipeline: i64,
    /// The release job.
    pub job: i64,
    /// The runner of the release job.
    pub runner: Option<String>,
    /// The name of the instance's key.
    pub key_id: &'a str,
    /// When the pipeline was created.
    pub started_at: Timestamp,
    /// When the release job ended.
    pub finished_at: Timestamp,
}

/// The path of the file that says how to build.
const CI_FILE: &str = ".gitlab-ci.yml";

impl Statement {
    /// The provenance of `artifacts`.
    #[must_use]
    pub fn provenance(
        build: &Build<'_>,
        artifacts: Vec<ResourceDescriptor>,
        byproducts: Vec<ResourceDescriptor>,
    ) -> Self {
        let reference = build.reference.to_owned();
        let mut dependencies = vec![ResourceDescriptor {
            uri: format!("git+{}@{reference}", build.source),
            digest: BTreeMap::from([("gitCommit".to_owned(), build.commit.to_owned())]),
            ..ResourceDescriptor::default()
        }];
        dependencies.extend(build.ci_file.map(|digest| ResourceDescriptor {
            name: CI_FILE.to_owned(),
            digest: digest_set(digest),
            ..ResourceDescriptor::default()
        }));
        Self {
            kind: STATEMENT_TYPE.to_owned(),
            subject: artifacts,
            predicate_type: PREDICATE_TYPE.to_owned(),
            predicate: Provenance {
                build_definition: BuildDefinition {
                    build_type: BUILD_TYPE.to_owned(),
                    external_parameters: ExternalParameters {
                        project: build.project.to_owned(),
                        reference,
                        configuration: CI_FILE.to_owned(),
                    },
                    internal_parameters: InternalParameters {
                        pipeline: build.pipeline,
                        job: build.job,
                        runner: build.runner.clone(),
                    },
                    resolved_dependencies: dependencies,
                },
                run_details: RunDetails {
                    builder: Builder {
                        id: format!("urn:bascule:instance:{}", build.key_id),
                        version: BTreeMap::from([(
                            "bascule".to_owned(),
                            env!("CARGO_PKG_VERSION").to_owned(),
                        )]),
                    },
                    metadata: BuildMetadata {
                        invocation_id: format!("urn:bascule:pipeline:{}", build.pipeline),
                        started_on: build.started_at,
                        finished_on: build.finished_at,
                    },
                    byproducts,
                },
            },
        }
    }

    /// The commit that the artifacts were built from.
    #[must_use]
    pub fn commit(&self) -> Option<&str> {
        let dependencies = &self.predicate.build_definition.resolved_dependencies;
        dependencies
            .iter()
            .find_map(|dependency| dependency.digest.get("gitCommit"))
            .map(String::as_str)
    }

    /// Signs the statement.
    #[must_use]
    pub fn sign(&self, key: &InstanceKey) -> dsse::Envelope {
        // The types hold nothing that JSON cannot; an empty payload would fail verification at once.
        dsse::Envelope::sign(PAYLOAD_TYPE, &serde_json::to_vec(self).unwrap_or_default(), key)
    }

    /// Checks an envelope and reads the statement in it.
    ///
    /// # Errors
    /// Says what does not hold.
    pub fn verify(envelope: &dsse::Envelope, key: &PublicKey) -> Result<Self, String> {
        let payload = envelope.verify(PAYLOAD_TYPE, key)?;
        let statement: Self =
            serde_json::from_slice(&payload).map_err(|error| format!("it is no SLSA provenance: {error}"))?;
        if statement.kind != STATEMENT_TYPE || statement.predicate_type != PREDICATE_TYPE {
            return Err(format!(
                "it is `{}` with `{}`, not SLSA provenance v1",
                statement.kind, statement.predicate_type
            ));
        }
        Ok(statement)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn provenance_has_the_fields_of_the_slsa_document() {
        let digest = Digest::of(b"x");
        let build = Build {
            project: "clinic/portal",
            reference: "refs/tags/v1.0.0",
            commit: "0123456789abcdef0123456789abcdef01234567",
            source: "https://h/clinic/portal.git",
            ci_file: Some(&digest),
            pipeline: 7,
            job: 9,
            runner: None,
            key_id: "k",
            started_at: Timestamp::from_seconds(0),
            finished_at: Timestamp::from_seconds(60),
        };
        let artifact = ResourceDescriptor {
            name: "app".to_owned(),
            digest: digest_set(&digest),
            ..ResourceDescriptor::default()
        };
        let statement = Statement::provenance(&build, vec![artifact], Vec::new());
        assert_eq!(statement.commit(), Some(build.commit));
        let json = serde_json::to_value(&statement).unwrap();
        assert_eq!(json["_type"], "https://in-toto.io/Statement/v1");
        assert_eq!(json["predicateType"], "https://slsa.dev/provenance/v1");
        assert_eq!(json["subject"][0]["digest"]["sha256"], digest.hex());
        let definition = &json["predicate"]["buildDefinition"];
        assert_eq!(definition["externalParameters"]["ref"], "refs/tags/v1.0.0");
        assert_eq!(
            definition["resolvedDependencies"][0]["uri"],
            "git+https://h/clinic/portal.git@refs/tags/v1.0.0"
        );
        assert_eq!(
            json["predicate"]["runDetails"]["metadata"]["finishedOn"],
            "1970-01-01T00:01:00Z"
        );

        let key = InstanceKey::generate();
        let envelope = statement.sign(&key);
        assert_eq!(Statement::verify(&envelope, &key.public()), Ok(statement));
        let other = dsse::Envelope::sign(PAYLOAD_TYPE, b"{}", &key);
        assert!(
            Statement::verify(&other, &key.public())
                .unwrap_err()
                .contains("no SLSA provenance")
        );
    }
}
