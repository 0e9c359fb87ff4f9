//! Tables of this capability.

use bascule_store::Migration;

/// Migrations, in order.
pub const MIGRATIONS: &[Migration] = &[Migration {
    id: "notices-0001",
    sql: "
        CREATE TABLE notice_heard (
            name TEXT PRIMARY KEY,
            seq BIGINT NOT NULL
        );
        INSERT INTO notice_heard (name, seq) SELECT 'people', seq FROM ledger_head;
        INSERT INTO notice_heard (name, seq) SELECT 'conflicts', seq FROM ledger_head;
        INSERT INTO notice_heard (name, seq) SELECT 'webhooks', seq FROM ledger_head;
        CREATE TABLE notice_involved (
            target_id TEXT NOT NULL,
            user_id TEXT NOT NULL,
            PRIMARY KEY (target_id, user_id)
        );
        CREATE TABLE todo (
            id TEXT PRIMARY KEY,
            user_id TEXT NOT NULL,
            project_id TEXT NOT NULL,
            action TEXT NOT NULL,
            target TEXT NOT NULL,
            target_id TEXT NOT NULL,
            number BIGINT NOT NULL,
            anchor TEXT NOT NULL,
            thread TEXT NOT NULL,
            actor TEXT NOT NULL,
            seq BIGINT NOT NULL,
            at BIGINT NOT NULL,
            done_at BIGINT,
            done_how TEXT
        );
        CREATE UNIQUE INDEX todo_waiting ON todo (user_id, target_id, action) WHERE done_at IS NULL;
        CREATE INDEX todo_of_user ON todo (user_id, done_at, id);
        CREATE INDEX todo_of_target ON todo (target_id);
        CREATE INDEX todo_of_project ON todo (project_id);
        CREATE INDEX todo_done ON todo (done_at);
        CREATE TABLE mail_choice (
            user_id TEXT PRIMARY KEY,
            issues TEXT NOT NULL,
            merge_requests TEXT NOT NULL,
            pipelines TEXT NOT NULL
        );
        CREATE TABLE mail (
            id TEXT PRIMARY KEY,
            user_id TEXT NOT NULL,
            seq BIGINT NOT NULL,
            project_id TEXT NOT NULL,
            action TEXT NOT NULL,
            kind TEXT NOT NULL,
            target TEXT NOT NULL,
            target_id TEXT NOT NULL,
            anchor TEXT NOT NULL,
            actor TEXT NOT NULL,
            summary TEXT NOT NULL,
            at BIGINT NOT NULL,
            state TEXT NOT NULL,
            tries BIGINT NOT NULL,
            due_at BIGINT NOT NULL,
            tried_at BIGINT,
            error TEXT NOT NULL,
            UNIQUE (user_id, seq, action, target_id)
        );
        CREATE INDEX mail_due ON mail (state, due_at);
        CREATE TABLE webhook (
            id TEXT PRIMARY KEY,
            project_id TEXT,
            group_id TEXT,
            url TEXT NOT NULL,
            sealed TEXT NOT NULL,
            events TEXT NOT NULL,
            enabled BOOLEAN NOT NULL,
            failing_since BIGINT,
            told TEXT NOT NULL,
            created_by TEXT NOT NULL,
            created_at BIGINT NOT NULL
        );
        CREATE INDEX webhook_project ON webhook (project_id);
        CREATE INDEX webhook_group ON webhook (group_id);
        CREATE TABLE webhook_delivery (
            id TEXT PRIMARY KEY,
            webhook_id TEXT NOT NULL,
            seq BIGINT NOT NULL,
            event TEXT NOT NULL,
            body TEXT NOT NULL,
            state TEXT NOT NULL,
            tries BIGINT NOT NULL,
            due_at BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            tried_at BIGINT,
            code BIGINT,
            duration_ms BIGINT,
            answer TEXT NOT NULL,
            error TEXT NOT NULL,
            replay_of TEXT
        );
        CREATE INDEX webhook_delivery_due ON webhook_delivery (state, due_at);
        CREATE INDEX webhook_delivery_hook ON webhook_delivery (webhook_id, id);
        CREATE INDEX webhook_delivery_old ON webhook_delivery (created_at);
    ",
}];
