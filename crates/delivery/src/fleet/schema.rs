//! Tables and columns of the fleet.

use bascule_store::Migration;

/// By what clusters pull the images that an agent runs there.
pub(crate) const PULLS: Migration = Migration {
    id: "delivery-2611-pull-secrets",
    sql: "
        CREATE TABLE agent_pull (
            agent_id TEXT PRIMARY KEY,
            secret_hash TEXT NOT NULL UNIQUE,
            created_at BIGINT NOT NULL
        );
    ",
};

/// Enrolment by code, and what agents say of their machines.
pub(crate) const AGENTS: Migration = Migration {
    id: "delivery-0002-agents",
    sql: "
        ALTER TABLE agent ADD COLUMN skewed BOOLEAN NOT NULL DEFAULT FALSE;
        ALTER TABLE agent ADD COLUMN resources TEXT NOT NULL DEFAULT '{}';
        ALTER TABLE agent ADD COLUMN machine TEXT NOT NULL DEFAULT '{}';
        ALTER TABLE agent ADD COLUMN drivers TEXT NOT NULL DEFAULT '[]';
        ALTER TABLE edge ADD COLUMN version TEXT NOT NULL DEFAULT '';
        ALTER TABLE edge ADD COLUMN machine TEXT NOT NULL DEFAULT '{}';
        CREATE TABLE enrolment_code (
            kind TEXT NOT NULL,
            name TEXT NOT NULL,
            code_hash TEXT NOT NULL UNIQUE,
            created_at BIGINT NOT NULL,
            expires_at BIGINT NOT NULL,
            used_at BIGINT,
            PRIMARY KEY (kind, name)
        );
    ",
};

/// Certificates of agents and edges. While a member has one, its token counts with it alone.
pub(crate) const CERTIFICATES: Migration = Migration {
    id: "delivery-2611-certificates",
    sql: "
        CREATE TABLE member_certificate (
            fingerprint TEXT PRIMARY KEY,
            kind TEXT NOT NULL,
            member TEXT NOT NULL,
            issued_at BIGINT NOT NULL,
            expires_at BIGINT NOT NULL,
            seen BOOLEAN NOT NULL DEFAULT FALSE
        );
        CREATE INDEX member_certificate_member ON member_certificate (kind, member);
    ",
};
