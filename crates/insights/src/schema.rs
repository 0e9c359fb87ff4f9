//! Tables of this capability: projections of the ledger, and nothing else.

use bascule_store::Migration;

/// Migrations, in order.
pub const MIGRATIONS: &[Migration] = &[FIRST, COVERING];

const FIRST: Migration = Migration {
    id: "insights-0001",
    sql: "
        CREATE TABLE insight_cursor (one BIGINT PRIMARY KEY, seq BIGINT NOT NULL);
        INSERT INTO insight_cursor (one, seq) VALUES (1, 0);
        CREATE TABLE insight_project (
            project_id TEXT PRIMARY KEY,
            path TEXT NOT NULL,
            created_at BIGINT NOT NULL,
            seq BIGINT NOT NULL,
            deleted BOOLEAN NOT NULL
        );
        CREATE INDEX insight_project_path ON insight_project (path);
        CREATE INDEX insight_project_created ON insight_project (created_at);
        CREATE TABLE insight_environment (
            environment_id TEXT PRIMARY KEY,
            name TEXT NOT NULL,
            tier TEXT NOT NULL
        );
        CREATE TABLE insight_release (
            release_id TEXT PRIMARY KEY,
            project_id TEXT NOT NULL,
            version TEXT NOT NULL,
            previous TEXT,
            seq BIGINT NOT NULL,
            deployed_seq BIGINT
        );
        CREATE INDEX insight_release_version ON insight_release (project_id, version);
        CREATE TABLE insight_change (
            release_id TEXT NOT NULL,
            sha TEXT NOT NULL,
            project_id TEXT NOT NULL,
            committed_at BIGINT NOT NULL,
            release_seq BIGINT NOT NULL,
            deployed_at BIGINT,
            deployed_seq BIGINT,
            lead BIGINT,
            PRIMARY KEY (release_id, sha)
        );
        CREATE INDEX insight_change_deployed ON insight_change (deployed_at);
        CREATE INDEX insight_change_project ON insight_change (project_id, deployed_at);
        CREATE TABLE insight_deployment (
            deployment_id TEXT PRIMARY KEY,
            project_id TEXT NOT NULL,
            environment_id TEXT NOT NULL,
            tier TEXT NOT NULL,
            release_id TEXT NOT NULL,
            version TEXT NOT NULL,
            cause TEXT NOT NULL,
            result TEXT,
            exposed BOOLEAN NOT NULL,
            created_seq BIGINT NOT NULL,
            finished_seq BIGINT,
            finished_at BIGINT,
            incident_seq BIGINT
        );
        CREATE INDEX insight_deployment_finished ON insight_deployment (tier, finished_at);
        CREATE INDEX insight_deployment_project ON insight_deployment (project_id, tier, finished_at);
        CREATE TABLE insight_waiting (
            project_id TEXT PRIMARY KEY,
            release_id TEXT NOT NULL,
            version TEXT NOT NULL,
            seq BIGINT NOT NULL,
            at BIGINT NOT NULL
        );
        CREATE INDEX insight_waiting_seq ON insight_waiting (seq);
        CREATE TABLE insight_incident (
            incident_id TEXT PRIMARY KEY,
            number BIGINT NOT NULL,
            project_id TEXT NOT NULL,
            title TEXT NOT NULL,
            severity TEXT NOT NULL,
            tier TEXT NOT NULL,
            environment_id TEXT,
            deployment_id TEXT,
            drill BOOLEAN NOT NULL,
            began_at BIGINT NOT NULL,
            detected_at BIGINT NOT NULL,
            acknowledged_at BIGINT,
            identified_at BIGINT,
            restored_at BIGINT,
            resolved_at BIGINT,
            opened_seq BIGINT NOT NULL,
            acknowledged_seq BIGINT,
            identified_seq BIGINT,
            resolved_seq BIGINT
        );
        CREATE INDEX insight_incident_detected ON insight_incident (detected_at);
        CREATE INDEX insight_incident_project ON insight_incident (project_id, detected_at);
        CREATE INDEX insight_incident_open ON insight_incident (resolved_at, number);
        CREATE TABLE insight_traffic (
            environment_id TEXT NOT NULL,
            day BIGINT NOT NULL,
            project_id TEXT NOT NULL,
            tier TEXT NOT NULL,
            total BIGINT NOT NULL,
            good BIGINT NOT NULL,
            objective DOUBLE PRECISION,
            PRIMARY KEY (environment_id, day)
        );
        CREATE INDEX insight_traffic_day ON insight_traffic (tier, day);
        CREATE INDEX insight_traffic_project ON insight_traffic (project_id, tier, day);
        CREATE TABLE insight_traffic_fact (
            seq BIGINT PRIMARY KEY,
            project_id TEXT NOT NULL,
            tier TEXT NOT NULL,
            day BIGINT NOT NULL
        );
        CREATE INDEX insight_traffic_fact_day ON insight_traffic_fact (tier, day);
        CREATE INDEX insight_traffic_fact_project ON insight_traffic_fact (project_id, tier, day);
        CREATE TABLE insight_contributor (
            project_id TEXT NOT NULL,
            author TEXT NOT NULL,
            first_at BIGINT NOT NULL,
            seq BIGINT NOT NULL,
            PRIMARY KEY (project_id, author)
        );
        CREATE INDEX insight_contributor_first ON insight_contributor (first_at, author);
        CREATE TABLE insight_pipeline (
            pipeline_id BIGINT PRIMARY KEY,
            project_id TEXT NOT NULL,
            reference TEXT NOT NULL,
            actor_id TEXT NOT NULL,
            status TEXT,
            at BIGINT NOT NULL
        );
        CREATE INDEX insight_pipeline_actor ON insight_pipeline (actor_id, status, at);
        CREATE INDEX insight_pipeline_reference ON insight_pipeline (project_id, reference, pipeline_id);
    ",
};

/// What a page of measures reads most stands in indices whole, in the order in which it is counted.
const COVERING: Migration = Migration {
    id: "insights-0002",
    sql: "
        CREATE INDEX insight_change_span ON insight_change (deployed_at, deployed_seq, release_seq, lead);
        CREATE INDEX insight_contributor_author ON insight_contributor (author, first_at);
        CREATE INDEX insight_contributor_seq ON insight_contributor (seq, first_at);
    ",
};

/// All tables, for building them again.
pub(crate) const TABLES: [&str; 12] = [
    "insight_project",
    "insight_environment",
    "insight_release",
    "insight_change",
    "insight_deployment",
    "insight_waiting",
    "insight_incident",
    "insight_traffic",
    "insight_traffic_fact",
    "insight_contributor",
    "insight_pipeline",
    "insight_cursor",
];
