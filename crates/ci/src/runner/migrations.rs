//! What the queue and the scopes of runners need in the database.

use bascule_store::Migration;

/// The queue as indexes over the jobs themselves, so that it can never tell otherwise than they do; and whose
/// runners are whose.
///
/// `queue_key` says what a job asks of a runner (see [`super::fair::Demand`]): all jobs of one key are
/// interchangeable, so that one look at the first of each tells what may be handed out. A job with a `runner_id` that
/// has not finished is held by that runner, also while it is only offered. The index by status goes: SQLite would take
/// it instead of these and walk all that wait. PostgreSQL, before it has statistics, would do so with the index by time,
/// which therefore asks for one word more than the queries by kind say.
pub const QUEUE: Migration = Migration {
    id: "ci-2611-queue",
    sql: "
        ALTER TABLE job ADD COLUMN queue_key TEXT;
        ALTER TABLE job ADD COLUMN graceful BOOLEAN NOT NULL DEFAULT FALSE;
        UPDATE job SET queue_key = project_id || '\t' || COALESCE((SELECT CASE WHEN p.protected THEN 'p' ELSE '-' END
            FROM pipeline p WHERE p.id = job.pipeline_id), '-') || '\t' || tags || '\t' || COALESCE(resource_group, '')
            WHERE finished_at IS NULL;
        DROP INDEX job_queue;
        CREATE INDEX job_waiting ON job (queue_key, queued_at, id) WHERE status = 'pending' AND runner_id IS NULL;
        CREATE INDEX job_waiting_since ON job (queued_at, id)
            WHERE status = 'pending' AND runner_id IS NULL AND queued_at IS NOT NULL;
        CREATE INDEX job_held ON job (project_id, resource_group, runner_id)
            WHERE runner_id IS NOT NULL AND finished_at IS NULL;
        CREATE INDEX job_started ON job (started_at);
        ALTER TABLE runner ADD COLUMN scope TEXT NOT NULL DEFAULT 'instance';
        ALTER TABLE runner ADD COLUMN group_name TEXT;
        ALTER TABLE runner ADD COLUMN protected BOOLEAN NOT NULL DEFAULT FALSE;
        ALTER TABLE runner ADD COLUMN locked BOOLEAN NOT NULL DEFAULT FALSE;
        ALTER TABLE runner ADD COLUMN executor TEXT NOT NULL DEFAULT '';
        CREATE TABLE runner_project (
            runner_id TEXT NOT NULL,
            project_id TEXT NOT NULL,
            PRIMARY KEY (runner_id, project_id)
        );
        CREATE INDEX runner_of_project ON runner_project (project_id);
        CREATE INDEX runner_of_group ON runner (group_name);
        ALTER TABLE runner_registration ADD COLUMN scope TEXT NOT NULL DEFAULT 'instance';
        ALTER TABLE runner_registration ADD COLUMN target TEXT NOT NULL DEFAULT '';
        CREATE TABLE ci_group_limit (group_name TEXT PRIMARY KEY, running BIGINT NOT NULL, set_at BIGINT NOT NULL);
        CREATE TABLE ci_resource_lock (
            project_id TEXT NOT NULL,
            name TEXT NOT NULL,
            PRIMARY KEY (project_id, name)
        );
    ",
};
