//! Tables and columns of environments in git.

use bascule_store::Migration;

/// What is no longer declared, what is declared and does not exist, secrets, when a release ran into trouble.
pub(crate) const ENVIRONMENTS: Migration = Migration {
    id: "delivery-0008-environments",
    sql: "
        ALTER TABLE environment ADD COLUMN undeclared_at BIGINT;
        ALTER TABLE environment ADD COLUMN pruned_at BIGINT;
        CREATE INDEX environment_undeclared ON environment (undeclared_at);
        ALTER TABLE site ADD COLUMN prune BOOLEAN NOT NULL DEFAULT FALSE;
        CREATE TABLE site_unknown (
            site TEXT NOT NULL,
            product TEXT NOT NULL,
            since BIGINT NOT NULL,
            PRIMARY KEY (site, product)
        );
        CREATE TABLE site_prune (
            site TEXT PRIMARY KEY,
            refused TEXT NOT NULL,
            installs TEXT NOT NULL,
            confirmed TEXT NOT NULL,
            at BIGINT NOT NULL
        );
        CREATE TABLE delivery_secret (
            site TEXT NOT NULL,
            name TEXT NOT NULL,
            sealed TEXT NOT NULL,
            actor TEXT NOT NULL,
            updated_at BIGINT NOT NULL,
            PRIMARY KEY (site, name)
        );
    ",
};

/// The tasks that are hooks of deployments.
pub(crate) const HOOKS: Migration = Migration {
    id: "delivery-0008-hooks",
    sql: "
        CREATE TABLE deployment_hook (
            deployment_id TEXT NOT NULL REFERENCES deployment (id),
            phase TEXT NOT NULL,
            task_id TEXT NOT NULL REFERENCES task (id),
            PRIMARY KEY (deployment_id, phase)
        );
    ",
};

/// What declarations name that is not there: channels, groups.
pub(crate) const NAMES: Migration = Migration {
    id: "delivery-2611-names",
    sql: "
        CREATE TABLE site_misnamed (
            site TEXT NOT NULL,
            product TEXT NOT NULL,
            name TEXT NOT NULL,
            text TEXT NOT NULL,
            next TEXT NOT NULL,
            PRIMARY KEY (site, product, name, text)
        );
    ",
};

/// Which commit of the environments project is in force, and which one is not and why.
pub(crate) const SYNC: Migration = Migration {
    id: "delivery-2611-sync",
    sql: "
        CREATE TABLE site_sync (
            project_id TEXT PRIMARY KEY,
            taken_sha TEXT NOT NULL,
            refused_sha TEXT NOT NULL,
            reason TEXT NOT NULL,
            at BIGINT NOT NULL
        );
    ",
};

/// Which tier of an environment the ledger was told of.
pub(crate) const TOLD: Migration = Migration {
    id: "delivery-2611-told-tier",
    sql: "
        ALTER TABLE environment ADD COLUMN told_tier TEXT;
        UPDATE environment SET told_tier = tier WHERE declared = FALSE;
    ",
};
