//! Tables of this crate.

use bascule_store::Migration;

/// Tables of this crate, in the order to apply.
pub const MIGRATIONS: &[Migration] = &[
    FIRST,
    STARTERS,
    crate::runner::QUEUE,
    crate::job::JOB_TOKENS,
    crate::job::LARGE_PIECES,
    crate::job::ID_KEY,
    crate::variable::SCOPED,
    crate::results::MIGRATION,
    crate::results::PLAYED,
    crate::pipeline::store::ENGINE,
    crate::required::store::MIGRATION,
    crate::request::store::MIGRATION,
    crate::environment::store::MIGRATION,
    crate::resource::store::MIGRATION,
    crate::schedule::store::MIGRATION,
    crate::job::STANDING,
    crate::job::RELEASES_WAIT,
    crate::job::UPLOADS,
    crate::retention::store::MIGRATION,
    crate::job::LAST_TOKENS,
    crate::job::CACHES,
    crate::results::PLAYED_INPUTS,
    crate::trigger_token::store::MIGRATION,
    crate::site::store::MIGRATION,
    crate::indexes::MIGRATION,
    crate::schedule::store::INPUTS,
];

/// Finds what someone started whose account is closed.
const STARTERS: Migration = Migration {
    id: "ci-2611-starters",
    sql: "CREATE INDEX pipeline_actor ON pipeline (actor_name, finished_at);",
};

const FIRST: Migration = Migration {
    id: "ci-0001",
    sql: "
        CREATE TABLE pipeline (
            id BIGINT PRIMARY KEY,
            project_id TEXT NOT NULL,
            reference TEXT NOT NULL,
            tag BOOLEAN NOT NULL,
            sha TEXT NOT NULL,
            before_sha TEXT,
            source TEXT NOT NULL,
            name TEXT,
            message TEXT NOT NULL,
            protected BOOLEAN NOT NULL,
            status TEXT NOT NULL,
            stages TEXT NOT NULL,
            faults TEXT NOT NULL,
            warnings TEXT NOT NULL,
            variables TEXT NOT NULL,
            ci_file_digest TEXT,
            source_fact TEXT,
            actor_kind TEXT NOT NULL,
            actor_id TEXT NOT NULL,
            actor_name TEXT NOT NULL,
            created_at BIGINT NOT NULL,
            started_at BIGINT,
            finished_at BIGINT
        );
        CREATE UNIQUE INDEX pipeline_source ON pipeline (source_fact);
        CREATE INDEX pipeline_project ON pipeline (project_id, id);
        CREATE TABLE job (
            id BIGINT PRIMARY KEY,
            pipeline_id BIGINT NOT NULL,
            project_id TEXT NOT NULL,
            name TEXT NOT NULL,
            stage TEXT NOT NULL,
            stage_index BIGINT NOT NULL,
            position BIGINT NOT NULL,
            status TEXT NOT NULL,
            run_when TEXT NOT NULL,
            allow_failure TEXT NOT NULL,
            needs TEXT,
            dependencies TEXT,
            variables TEXT NOT NULL,
            spec TEXT NOT NULL,
            tags TEXT NOT NULL,
            resource_group TEXT,
            timeout BIGINT NOT NULL,
            runner_id TEXT,
            token_hash TEXT,
            failure_reason TEXT,
            exit_code BIGINT,
            retried BOOLEAN NOT NULL,
            attempt BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            queued_at BIGINT,
            started_at BIGINT,
            finished_at BIGINT,
            heard_at BIGINT,
            trace_bytes BIGINT NOT NULL,
            trace_crc BIGINT NOT NULL
        );
        CREATE INDEX job_pipeline ON job (pipeline_id, id);
        CREATE INDEX job_project ON job (project_id, id);
        CREATE INDEX job_queue ON job (status, queued_at, id);
        CREATE UNIQUE INDEX job_token ON job (token_hash);
        CREATE TABLE job_trace (
            job_id BIGINT NOT NULL,
            start BIGINT NOT NULL,
            length BIGINT NOT NULL,
            bytes BYTEA NOT NULL,
            PRIMARY KEY (job_id, start)
        );
        CREATE TABLE job_artifact (
            job_id BIGINT NOT NULL,
            kind TEXT NOT NULL,
            format TEXT NOT NULL,
            file_name TEXT NOT NULL,
            digest TEXT NOT NULL,
            size BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            expires_at BIGINT,
            PRIMARY KEY (job_id, kind)
        );
        CREATE TABLE runner (
            id TEXT PRIMARY KEY,
            number BIGINT NOT NULL,
            token_hash TEXT NOT NULL,
            description TEXT NOT NULL,
            tags TEXT NOT NULL,
            run_untagged BOOLEAN NOT NULL,
            paused BOOLEAN NOT NULL,
            maximum_timeout BIGINT,
            version TEXT NOT NULL,
            platform TEXT NOT NULL,
            created_at BIGINT NOT NULL,
            contacted_at BIGINT
        );
        CREATE UNIQUE INDEX runner_token ON runner (token_hash);
        CREATE TABLE runner_registration (token_hash TEXT PRIMARY KEY, created_at BIGINT NOT NULL);
        CREATE TABLE ci_variable (
            project_id TEXT NOT NULL,
            name TEXT NOT NULL,
            value TEXT NOT NULL,
            masked BOOLEAN NOT NULL,
            protected BOOLEAN NOT NULL,
            file BOOLEAN NOT NULL,
            expand BOOLEAN NOT NULL,
            updated_at BIGINT NOT NULL,
            PRIMARY KEY (project_id, name)
        );
    ",
};
