//! Tables of this capability.

use bascule_store::Migration;

/// Migrations, in order.
pub const MIGRATIONS: &[Migration] = &[FIRST, crate::drill::DRILLS];

const FIRST: Migration = Migration {
    id: "incidents-0001",
    sql: "
        CREATE TABLE incident (
            id TEXT PRIMARY KEY,
            number BIGINT NOT NULL UNIQUE,
            project_id TEXT NOT NULL,
            title TEXT NOT NULL,
            severity TEXT NOT NULL,
            cause TEXT NOT NULL,
            environment_id TEXT,
            environment_name TEXT,
            deployment_id TEXT,
            version TEXT,
            drill BOOLEAN NOT NULL,
            root_cause TEXT NOT NULL,
            began_at BIGINT NOT NULL,
            detected_at BIGINT NOT NULL,
            acknowledged_at BIGINT,
            acknowledged_by TEXT,
            identified_at BIGINT,
            restored_at BIGINT,
            resolved_at BIGINT,
            resolved_by TEXT,
            postmortem_home TEXT,
            postmortem_path TEXT,
            postmortem_sha TEXT,
            postmortem_error TEXT
        );
        CREATE INDEX incident_project ON incident (project_id, number);
        CREATE INDEX incident_resolved ON incident (resolved_at, number);
        CREATE UNIQUE INDEX incident_one_open ON incident (environment_id)
            WHERE resolved_at IS NULL AND environment_id IS NOT NULL;
        CREATE TABLE incident_source (
            fact_id TEXT PRIMARY KEY,
            incident_id TEXT NOT NULL REFERENCES incident (id),
            seq BIGINT NOT NULL,
            kind TEXT NOT NULL,
            alert TEXT
        );
        CREATE INDEX incident_source_alert ON incident_source (alert);
        CREATE TABLE incident_comment (
            incident_id TEXT NOT NULL REFERENCES incident (id),
            number BIGINT NOT NULL,
            actor TEXT NOT NULL,
            body TEXT NOT NULL,
            at BIGINT NOT NULL,
            PRIMARY KEY (incident_id, number)
        );
        CREATE TABLE known_environment (
            environment_id TEXT PRIMARY KEY,
            project_id TEXT NOT NULL,
            name TEXT NOT NULL,
            tier TEXT NOT NULL
        );
        CREATE INDEX known_environment_name ON known_environment (project_id, name);
        CREATE TABLE known_project (project_id TEXT PRIMARY KEY, path TEXT NOT NULL);
    ",
};
