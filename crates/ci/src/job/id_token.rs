//! `id_tokens`: what proves to others which job this is, as an OpenID Connect token with GitLab's claims, and what others
//! need to check it. A cloud or a vault trusts this server's address as issuer and reads the rest from here.

use super::{Job, store};
use crate::{
    Ci,
    pipeline::{self, Pipeline},
    ports::ProjectInfo,
    runner::Runner,
    variables::{expand, resolve},
};
use axum::{Json, extract::State, routing::get};
use bascule_core::{Actor, ActorKind, FactId, Problem, Result};
use bascule_store::Migration;
use bascule_web::{Access, Answer, Routes};
use bascule_wire::runner as wire;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::{
    rand::SystemRandom,
    rsa::{KeyPair, PublicKeyComponents},
    signature::RSA_PKCS1_SHA256,
};
use rsa::{
    RsaPrivateKey,
    pkcs8::EncodePrivateKey as _,
    rand_core::{TryCryptoRng, TryRng},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{convert::Infallible, sync::Arc};

/// The key, sealed under the instance's, so that all replicas sign with the same.
pub const ID_KEY: Migration = Migration {
    id: "ci-2611-id-key",
    sql: "CREATE TABLE ci_id_key (one BIGINT PRIMARY KEY, sealed TEXT NOT NULL, made_at BIGINT NOT NULL);",
};

/// Bits of the key.
const BITS: usize = 2048;
/// For what the key is sealed.
const PURPOSE: &str = "ci id tokens";
/// Where the public keys are, as at GitLab.
const KEYS: &str = "/oauth/discovery/keys";
/// Claims of a token, besides the usual ones.
const CLAIMS: &[&str] = &[
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "namespace_id",
    "namespace_path",
    "project_id",
    "project_path",
    "project_visibility",
    "job_namespace_id",
    "job_namespace_path",
    "job_project_id",
    "job_project_path",
    "user_id",
    "user_login",
    "user_email",
    "user_access_level",
    "pipeline_id",
    "pipeline_source",
    "job_id",
    "ref",
    "ref_type",
    "ref_path",
    "ref_protected",
    "sha",
    "environment",
    "environment_protected",
    "environment_action",
    "deployment_tier",
    "runner_id",
    "runner_environment",
    "ci_config_ref_uri",
    "ci_config_sha",
];

pub(crate) fn routes() -> Routes<Ci> {
    Routes::new()
        .page(
            "GET",
            "/.well-known/openid-configuration",
            Access::Public,
            get(configuration),
        )
        .page("GET", KEYS, Access::Public, get(keys))
}

/// The process's generator of random numbers, as the crate that makes the key wants it.
struct Random;

impl TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> std::result::Result<u32, Infallible> {
        Ok(rand::random())
    }

    fn try_next_u64(&mut self) -> std::result::Result<u64, Infallible> {
        Ok(rand::random())
    }

    fn try_fill_bytes(&mut self, into: &mut [u8]) -> std::result::Result<(), Infallible> {
        use rand::Rng as _;
        rand::rng().fill(into);
        Ok(())
    }
}

impl TryCryptoRng for Random {}

/// Signs tokens.
pub(crate) struct Signer {
    key: KeyPair,
    /// Which key it is: its RFC 7638 thumbprint.
    id: String,
    modulus: String,
    exponent: String,
}

impl Signer {
    fn new(der: &[u8]) -> Result<Self> {
        let key = KeyPair::from_pkcs8(der).map_err(|_| Problem::internal())?;
        let public: PublicKeyComponents<Vec<u8>> = key.public().into();
        let modulus = URL_SAFE_NO_PAD.encode(public.n);
        let exponent = URL_SAFE_NO_PAD.encode(public.e);
        let thumb = format!("{{\"e\":\"{exponent}\",\"kty\":\"RSA\",\"n\":\"{modulus}\"}}");
        Ok(Self {
            id: URL_SAFE_NO_PAD.encode(Sha256::digest(thumb.as_bytes())),
            key,
            modulus,
            exponent,
        })
    }

    fn sign(&self, claims: &Value) -> Result<String> {
        let head = json!({"alg": "RS256", "kid": self.id, "typ": "JWT"});
        let text = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(head.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                text.as_bytes(),
                &mut signature,
            )
            .map_err(|_| Problem::internal())?;
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl Ci {
    async fn signer(&self) -> Result<&Arc<Signer>> {
        self.signer
            .get_or_try_init(|| async { self.load_signer().await })
            .await
    }

    /// The key of this instance, made at its first use.
    async fn load_signer(&self) -> Result<Arc<Signer>> {
        let key = self.ledger.key();
        let sealed = match store::id_key(&self.db).await? {
            Some(sealed) => sealed,
            None => {
                let der = tokio::task::spawn_blocking(|| -> Result<Vec<u8>> {
                    let key = RsaPrivateKey::new(&mut Random, BITS).map_err(|_| Problem::internal())?;
                    let der = key.to_pkcs8_der().map_err(|_| Problem::internal())?;
                    Ok(der.as_bytes().to_vec())
                })
                .await
                .map_err(|_| Problem::internal())??;
                let sealed = key.seal(PURPOSE, b"rs256", &STANDARD.encode(der))?;
                let tx = self.db.begin().await?;
                store::keep_id_key(&tx, &sealed, self.clock.now()).await?;
                tx.commit().await?;
                store::id_key(&self.db).await?.unwrap_or(sealed)
            }
        };
        let der = key
            .open(PURPOSE, b"rs256", &sealed)
            .and_then(|text| STANDARD.decode(text).ok())
            .ok_or_else(|| {
                Problem::new(500, "id_key_sealed", "The key for jobs' identity tokens cannot be opened.")
                    .why("It was sealed under another instance key.")
                    .next("Give all replicas the same instance.key, or delete the row of ci_id_key to have a new one made.")
            })?;
        Ok(Arc::new(Signer::new(&der)?))
    }

    /// The job's `id_tokens` as variables.
    pub(super) async fn id_tokens(
        &self,
        job: &Job,
        pipeline: &Pipeline,
        project: &ProjectInfo,
        runner: &Runner,
        variables: &[wire::Variable],
    ) -> Result<Vec<wire::Variable>> {
        let wanted = &job.spec.0.id_tokens;
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let values = resolve(variables);
        let signer = self.signer().await?;
        let starter = pipeline::store::actor(&self.db, pipeline.id).await?;
        // As they are now: policies bind to the role.
        let person = match &starter {
            Some(actor) => self.reach().person(actor, job.project_id).await?,
            None => None,
        };
        let mut list = Vec::with_capacity(wanted.len());
        for (name, token) in wanted {
            let audience: Vec<String> = token.aud.iter().map(|aud| expand(aud, &values)).collect();
            let now = self.clock.now().seconds();
            let path = project.path();
            let kind = if pipeline.tag { "tag" } else { "branch" };
            let reference = &pipeline.reference;
            let mut claims = json!({
                "iss": self.options.base_url,
                "sub": format!("project_path:{path}:ref_type:{kind}:ref:{reference}"),
                "aud": match audience.as_slice() {
                    [one] => json!(one),
                    several => json!(several),
                },
                "iat": now,
                "nbf": now - 5,
                "exp": now + job.timeout.max(300),
                "jti": FactId::new().to_string(),
                "namespace_id": project.group_id,
                "namespace_path": project.group,
                "project_id": job.project_id.to_string(),
                "project_path": path,
                "project_visibility": project.visibility,
                "job_namespace_id": project.group_id,
                "job_namespace_path": project.group,
                "job_project_id": job.project_id.to_string(),
                "job_project_path": path,
                "pipeline_id": pipeline.id.to_string(),
                "pipeline_source": pipeline.source,
                "job_id": job.id.to_string(),
                "ref": reference,
                "ref_type": kind,
                "ref_path": format!("refs/{}/{reference}", if pipeline.tag { "tags" } else { "heads" }),
                // Texts, as GitLab has them.
                "ref_protected": pipeline.protected.to_string(),
                "sha": pipeline.sha,
                "ci_config_ref_uri": pipeline::config_uri(pipeline, &path, &self.options.base_url),
                "ci_config_sha": pipeline.sha,
                "runner_id": runner.number,
                "runner_environment": "self-hosted",
            });
            // Programs of one project, whose names hold a colon, are nobody's account.
            let account = |actor: &&Actor| match actor.kind {
                ActorKind::User => true,
                ActorKind::Token => !actor.name.contains(':'),
                _ => false,
            };
            if let Some(actor) = starter.as_ref().filter(account) {
                claims["user_login"] = json!(actor.name);
                if actor.kind == ActorKind::User {
                    claims["user_id"] = json!(actor.id);
                }
            }
            if let Some(person) = &person {
                claims["user_id"] = json!(person.id);
                for (claim, value) in [("user_email", &person.email), ("user_access_level", &person.role)] {
                    if !value.is_empty() {
                        claims[claim] = json!(value);
                    }
                }
            }
            if let Some(environment) = &job.spec.0.environment {
                // There is no protection of an environment apart from its branch's.
                claims["environment_protected"] = json!(pipeline.protected.to_string());
                claims["environment"] = json!(expand(&environment.name, &values));
                claims["environment_action"] = json!(environment.action);
                claims["deployment_tier"] = json!(values.get("CI_ENVIRONMENT_TIER"));
            }
            list.push(wire::Variable {
                raw: true,
                ..wire::Variable::masked(name, signer.sign(&claims)?)
            });
        }
        Ok(list)
    }
}

async fn configuration(State(ci): State<Ci>) -> Answer<Json<Value>> {
    let issuer = &ci.options.base_url;
    Ok(Json(json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}{KEYS}"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "claims_supported": CLAIMS,
    })))
}

async fn keys(State(ci): State<Ci>) -> Answer<Json<Value>> {
    let signer = ci.signer().await?;
    Ok(Json(json!({ "keys": [{
        "kty": "RSA",
        "kid": signer.id,
        "use": "sig",
        "alg": "RS256",
        "n": signer.modulus,
        "e": signer.exponent,
    }] })))
}
