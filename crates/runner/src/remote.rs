//! Caches in an object store that speaks S3, shared by all runners that name it.

use crate::api::if_there;
use bascule_client::{Client, Method, Retry};
use bascule_core::{Problem, Result};
use rusty_s3::{Bucket, Credentials, S3Action as _, UrlStyle};
use serde::{Deserialize, Serialize};
use std::{path::Path, time::Duration};
use url::Url;

/// How long a signed address is good.
const GOOD: Duration = Duration::from_secs(3600);
/// Largest object that is stored in one piece.
const MOST: u64 = 5 << 30;

/// An object store.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct S3 {
    /// Where it is: `https://s3.example.org`.
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// Its region; many stores take any.
    pub region: String,
    /// Who asks.
    pub access_key: String,
    /// Their secret.
    pub secret_key: String,
    /// What names in it begin with.
    pub prefix: String,
}

/// The store, ready to be asked.
#[derive(Debug)]
pub(crate) struct Remote {
    bucket: Bucket,
    credentials: Credentials,
    client: Client,
    prefix: String,
}

impl Remote {
    pub(crate) fn new(store: &S3) -> Result<Self> {
        let wrong = |why: String| {
            Problem::invalid("bad_cache_store", "The store of caches cannot be used.")
                .why(why)
                .next("Correct `cache_s3` in the runner's configuration.")
        };
        let endpoint = Url::parse(&store.endpoint).map_err(|error| wrong(error.to_string()))?;
        let bucket = Bucket::new(
            endpoint,
            UrlStyle::Path,
            store.bucket.clone(),
            store.region.clone(),
        )
        .map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            bucket,
            credentials: Credentials::new(store.access_key.clone(), store.secret_key.clone()),
            client: Client::new(&store.endpoint, None)?,
            prefix: store.prefix.trim_matches('/').to_owned(),
        })
    }

    fn object(&self, name: &str) -> String {
        if self.prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{}/{name}", self.prefix)
        }
    }

    /// Streams an object into a file; its size, or `None` if there is none.
    pub(crate) async fn fetch(&self, name: &str, to: &Path, limit: u64) -> Result<Option<u64>> {
        let object = self.object(name);
        let signed = self
            .bucket
            .get_object(Some(&self.credentials), &object)
            .sign(GOOD);
        let fetched = self
            .client
            .request(Method::GET, &path(&signed))
            .retry(patient())
            .download(to, None, limit)
            .await;
        if_there(fetched)
    }

    /// Streams a file into an object, in the place of what was there.
    pub(crate) async fn store(&self, name: &str, from: &Path, size: u64) -> Result<()> {
        if size > MOST {
            return Err(Problem::too_large(format!(
                "The cache is {size} bytes; {MOST} are allowed."
            )));
        }
        let object = self.object(name);
        let signed = self
            .bucket
            .put_object(Some(&self.credentials), &object)
            .sign(GOOD);
        self.client
            .request(Method::PUT, &path(&signed))
            .file(from)
            .retry(patient())
            .send()
            .await?;
        Ok(())
    }
}

fn path(url: &Url) -> String {
    format!("{}?{}", url.path(), url.query().unwrap_or_default())
}

fn patient() -> Retry {
    Retry {
        attempts: 4,
        first: Duration::from_millis(200),
        most: Duration::from_secs(4),
    }
}
