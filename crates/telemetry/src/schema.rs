//! Tables of this capability.

use bascule_store::Migration;

/// Migrations, in order.
pub const MIGRATIONS: &[Migration] = &[Migration {
    id: "telemetry-0001",
    sql: "
        CREATE TABLE telemetry_state (name TEXT PRIMARY KEY, value BIGINT NOT NULL);
        INSERT INTO telemetry_state (name, value) VALUES ('record', 0);
        CREATE TABLE telemetry_seen (
            instance_id TEXT NOT NULL,
            at BIGINT NOT NULL,
            source TEXT NOT NULL,
            PRIMARY KEY (instance_id, at, source)
        );
        CREATE INDEX telemetry_seen_at ON telemetry_seen (at);
        CREATE TABLE telemetry_bucket (
            environment_id TEXT NOT NULL,
            step BIGINT NOT NULL,
            at BIGINT NOT NULL,
            deployment_id TEXT NOT NULL,
            project_id TEXT NOT NULL,
            version TEXT NOT NULL,
            requests BIGINT NOT NULL,
            errors BIGINT NOT NULL,
            slow BIGINT NOT NULL,
            in_flight BIGINT NOT NULL,
            latency TEXT NOT NULL,
            told_requests BIGINT NOT NULL,
            told_errors BIGINT NOT NULL,
            PRIMARY KEY (environment_id, step, at, deployment_id)
        );
        CREATE INDEX telemetry_bucket_at ON telemetry_bucket (step, at);
        CREATE INDEX telemetry_untold ON telemetry_bucket (environment_id) WHERE step = 10 AND told_requests < requests;
        CREATE TABLE telemetry_alert (
            key TEXT PRIMARY KEY,
            environment_id TEXT NOT NULL,
            project_id TEXT NOT NULL,
            slo TEXT NOT NULL,
            burn_rate DOUBLE PRECISION NOT NULL,
            version TEXT,
            began_at BIGINT NOT NULL,
            opened_at BIGINT NOT NULL,
            fired_at BIGINT NOT NULL,
            closed_at BIGINT
        );
        CREATE UNIQUE INDEX telemetry_alert_open ON telemetry_alert (environment_id, slo) WHERE closed_at IS NULL;
        CREATE INDEX telemetry_alert_project ON telemetry_alert (project_id, opened_at);
    ",
}];
