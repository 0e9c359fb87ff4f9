//! Indexes over all jobs there ever were, for what is asked again and again.

use bascule_store::Migration;

/// What the engine asks each second, and who asks for the newest archive of a branch, must not get slower with every
/// job that is kept.
pub const MIGRATION: Migration = Migration {
    id: "ci-2711-indexes",
    sql: "
        CREATE INDEX job_to_cross ON job (id) WHERE status = 'running' AND bridge AND downstream_id IS NULL;
        CREATE INDEX job_for_resource ON job (project_id, resource_group) WHERE status = 'waiting_for_resource';
        CREATE INDEX job_downstream ON job (downstream_id) WHERE downstream_id IS NOT NULL;
        CREATE INDEX job_well ON job (project_id, name, id) WHERE status = 'success';
    ",
};
