//! Tables of tasks.

use bascule_store::Migration;

/// Tasks, who approved them, what they wrote.
pub(crate) const TASKS: Migration = Migration {
    id: "delivery-0006-tasks",
    sql: "
        CREATE TABLE task (
            id TEXT PRIMARY KEY,
            project_id TEXT NOT NULL,
            environment_id TEXT NOT NULL REFERENCES environment (id),
            deployment_id TEXT NOT NULL REFERENCES deployment (id),
            version TEXT NOT NULL,
            command TEXT NOT NULL,
            reason TEXT NOT NULL,
            actor TEXT NOT NULL,
            actor_id TEXT NOT NULL,
            teams TEXT NOT NULL,
            status TEXT NOT NULL,
            cancelled BOOLEAN NOT NULL DEFAULT FALSE,
            timeout_ms BIGINT NOT NULL,
            output_bytes BIGINT NOT NULL DEFAULT 0,
            exit_code BIGINT,
            message TEXT NOT NULL DEFAULT '',
            created_at BIGINT NOT NULL,
            queued_at BIGINT,
            started_at BIGINT,
            finished_at BIGINT
        );
        CREATE INDEX task_project ON task (project_id, id);
        CREATE INDEX task_open ON task (environment_id, finished_at);
        CREATE TABLE task_approval (
            task_id TEXT NOT NULL REFERENCES task (id),
            team TEXT NOT NULL,
            actor TEXT NOT NULL,
            at BIGINT NOT NULL,
            PRIMARY KEY (task_id, team)
        );
        CREATE TABLE task_output (
            task_id TEXT NOT NULL REFERENCES task (id),
            start BIGINT NOT NULL,
            length BIGINT NOT NULL,
            bytes BYTEA NOT NULL,
            PRIMARY KEY (task_id, start)
        );
    ",
};
