//! Facts about what environments' files name and that is not there, published by delivery.

use super::fact;
use bascule_core::ProjectId;
use serde::{Deserialize, Serialize};

/// Which products that an environment's file names do not exist is otherwise than before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SiteIncomplete {
    /// The project that declares it.
    pub project: ProjectId,
    /// The environment's name.
    pub site: String,
    /// The products; none: all of them exist now.
    pub products: Vec<String>,
}
fact!(
    SiteIncomplete,
    "site.incomplete",
    |f| Some(f.project),
    |f| format!("site:{}", f.site),
    |f| if f.products.is_empty() {
        format!("every product that {} declares exists now", f.site)
    } else {
        format!(
            "{} declares what does not exist, and is installed once it does: {}",
            f.site,
            f.products.join(", ")
        )
    }
);

/// What an environment's file names that is not there, such as a channel or a group, is otherwise than before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SiteMisnamed {
    /// The project that declares it.
    pub project: ProjectId,
    /// The environment's name.
    pub site: String,
    /// Each in words; none: all that it names is there now.
    pub names: Vec<String>,
}
fact!(
    SiteMisnamed,
    "site.misnamed",
    |f| Some(f.project),
    |f| format!("site:{}", f.site),
    |f| if f.names.is_empty() {
        format!("all that {} names is there now", f.site)
    } else {
        format!("{} names what is not there: {}", f.site, f.names.join("; "))
    }
);
