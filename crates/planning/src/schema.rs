//! Tables of this capability.

use bascule_store::Migration;

/// Migrations, in order.
pub const MIGRATIONS: &[Migration] = &[Migration {
    id: "planning-0001-issues",
    sql: "
        CREATE TABLE planned_project (
            project_id TEXT PRIMARY KEY,
            wip TEXT NOT NULL,
            since BIGINT NOT NULL
        );
        CREATE TABLE board (
            group_id TEXT PRIMARY KEY,
            version BIGINT NOT NULL
        );
        CREATE TABLE milestone (
            id TEXT PRIMARY KEY,
            project_id TEXT,
            group_id TEXT,
            number BIGINT NOT NULL,
            title TEXT NOT NULL,
            description TEXT NOT NULL,
            starts_on TEXT,
            due_on TEXT,
            state TEXT NOT NULL,
            created_at BIGINT NOT NULL,
            closed_at BIGINT
        );
        CREATE UNIQUE INDEX milestone_of_project ON milestone (project_id, title) WHERE project_id IS NOT NULL;
        CREATE UNIQUE INDEX milestone_of_group ON milestone (group_id, title) WHERE group_id IS NOT NULL;
        CREATE TABLE label (
            id TEXT PRIMARY KEY,
            project_id TEXT,
            group_id TEXT,
            name TEXT NOT NULL,
            family TEXT NOT NULL,
            description TEXT NOT NULL,
            colour TEXT NOT NULL,
            place BIGINT NOT NULL
        );
        CREATE UNIQUE INDEX label_of_project ON label (project_id, name) WHERE project_id IS NOT NULL;
        CREATE UNIQUE INDEX label_of_group ON label (group_id, name) WHERE group_id IS NOT NULL;
        CREATE INDEX label_name ON label (name);
        CREATE TABLE label_subscription (
            label_id TEXT NOT NULL REFERENCES label (id),
            user_id TEXT NOT NULL,
            PRIMARY KEY (label_id, user_id)
        );
        CREATE TABLE issue (
            id TEXT PRIMARY KEY,
            project_id TEXT NOT NULL,
            group_id TEXT NOT NULL,
            number BIGINT NOT NULL,
            title TEXT NOT NULL,
            description TEXT NOT NULL,
            words TEXT NOT NULL,
            author TEXT NOT NULL,
            author_id TEXT,
            confidential BOOLEAN NOT NULL,
            place TEXT NOT NULL,
            rank BIGINT NOT NULL,
            due_on TEXT,
            milestone_id TEXT REFERENCES milestone (id),
            planned_at BIGINT,
            comments BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            closed_at BIGINT,
            closed_by TEXT,
            closed_how TEXT,
            UNIQUE (project_id, number)
        );
        CREATE INDEX issue_place ON issue (project_id, place, rank);
        CREATE INDEX issue_rank ON issue (group_id, rank);
        CREATE INDEX issue_updated ON issue (project_id, updated_at);
        CREATE INDEX issue_closed ON issue (project_id, closed_at);
        CREATE INDEX issue_milestone ON issue (milestone_id);
        CREATE TABLE issue_assignee (
            issue_id TEXT NOT NULL REFERENCES issue (id),
            user_id TEXT NOT NULL,
            username TEXT NOT NULL,
            PRIMARY KEY (issue_id, user_id)
        );
        CREATE INDEX issue_assignee_user ON issue_assignee (user_id);
        CREATE TABLE issue_label (
            issue_id TEXT NOT NULL REFERENCES issue (id),
            label_id TEXT NOT NULL REFERENCES label (id),
            PRIMARY KEY (issue_id, label_id)
        );
        CREATE INDEX issue_label_label ON issue_label (label_id);
        CREATE TABLE issue_comment (
            issue_id TEXT NOT NULL REFERENCES issue (id),
            number BIGINT NOT NULL,
            actor TEXT NOT NULL,
            body TEXT NOT NULL,
            at BIGINT NOT NULL,
            PRIMARY KEY (issue_id, number)
        );
        CREATE TABLE issue_link (
            from_id TEXT NOT NULL REFERENCES issue (id),
            to_id TEXT NOT NULL REFERENCES issue (id),
            kind TEXT NOT NULL,
            PRIMARY KEY (from_id, to_id)
        );
        CREATE INDEX issue_link_to ON issue_link (to_id);
        CREATE TABLE issue_closing (
            issue_id TEXT NOT NULL REFERENCES issue (id),
            source TEXT NOT NULL,
            PRIMARY KEY (issue_id, source)
        );
        CREATE TABLE away (
            user_id TEXT PRIMARY KEY,
            until TEXT
        );
    ",
}];
