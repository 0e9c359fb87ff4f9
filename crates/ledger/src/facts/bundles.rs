//! Facts about bundles: what was carried to sites without a network, and what they told.

use super::fact;
use bascule_core::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

/// A bundle was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BundleExported {
    /// The site that it is for; of a report, the site that reports.
    pub site: String,
    /// Its sequence number.
    pub sequence: i64,
    /// Its name.
    pub bundle: Digest,
    /// `snapshot`, `incremental`, `checkpoint`, `report`.
    pub kind: String,
    /// The sequence number that it builds upon.
    pub base: Option<i64>,
    /// How many releases it brings.
    pub releases: i64,
    /// How many files it takes.
    pub files: i64,
    /// How many bytes they have.
    pub bytes: i64,
}
fact!(
    BundleExported,
    "bundle.exported",
    |_| None,
    |f| format!("site:{}", f.site),
    |f| if f.kind == "report" {
        format!("made the report {} of the site {}", f.sequence, f.site)
    } else {
        format!(
            "exported the {} {} for the site {}: {} releases, {} bytes",
            f.kind, f.sequence, f.site, f.releases, f.bytes
        )
    }
);

/// A bundle was applied here: what it says is in force.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BundleImported {
    /// The site.
    pub site: String,
    /// Its sequence number.
    pub sequence: i64,
    /// Its name.
    pub bundle: Digest,
    /// `snapshot`, `incremental`, `checkpoint`.
    pub kind: String,
    /// The key of the hub that made it.
    pub source: String,
    /// How many releases are new here.
    pub releases: i64,
    /// How many releases it recalled.
    pub recalls: i64,
}
fact!(
    BundleImported,
    "bundle.imported",
    |_| None,
    |f| format!("site:{}", f.site),
    |f| format!(
        "applied the {} {} for the site {}: {} new releases, {} recalls",
        f.kind, f.sequence, f.site, f.releases, f.recalls
    )
);

/// A bundle was brought and refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BundleRefused {
    /// The site that it names, which nothing proves.
    pub site: String,
    /// The sequence number that it names.
    pub sequence: i64,
    /// The rule, such as `bundle_tampered`, `bundle_replayed`.
    pub rule: String,
    /// Why, in plain words.
    pub reason: String,
}
fact!(
    BundleRefused,
    "bundle.refused",
    |_| None,
    |f| format!("site:{}", f.site),
    |f| format!("refused a bundle: {}", f.reason)
);

/// A site without a network told what runs there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SiteReported {
    /// The site.
    pub site: String,
    /// The report's sequence number.
    pub sequence: i64,
    /// The last bundle that the site has applied; 0: none.
    pub applied: i64,
    /// How many products run there.
    pub running: i64,
    /// How many of them are not healthy.
    pub unhealthy: i64,
    /// When the report was made, by the site's clock.
    pub at: Timestamp,
}
fact!(
    SiteReported,
    "site.reported",
    |_| None,
    |f| format!("site:{}", f.site),
    |f| format!(
        "the site {} reports: {} products run, {} unhealthy, bundle {} applied",
        f.site, f.running, f.unhealthy, f.applied
    )
);

/// Another instance's key is believed, or no longer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BundleKeyChanged {
    /// The key's name.
    pub key: String,
    /// `hub`: its bundles are applied here; `site`: its reports are.
    pub role: String,
    /// The site: the one that this instance is, or whose key it is.
    pub site: String,
    /// Whether it is believed.
    pub trusted: bool,
}
fact!(
    BundleKeyChanged,
    "bundle.key_changed",
    |_| None,
    |f| format!("site:{}", f.site),
    |f| match (f.trusted, f.role.as_str()) {
        (true, "hub") => format!("believes bundles of the key {} as the site {}", f.key, f.site),
        (true, _) => format!("believes reports of the site {} by the key {}", f.site, f.key),
        (false, _) => format!("no longer believes the key {}", f.key),
    }
);
