//! Tables of this capability.

use bascule_store::Migration;

/// Migrations, in order.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        id: "identity-0001",
        sql: "
        CREATE TABLE account (
            id TEXT PRIMARY KEY,
            username TEXT NOT NULL UNIQUE,
            display_name TEXT NOT NULL,
            email TEXT NOT NULL,
            password_hash TEXT NOT NULL,
            instance_role TEXT NOT NULL,
            active BOOLEAN NOT NULL,
            created_at BIGINT NOT NULL,
            last_sign_in_at BIGINT
        );
        CREATE TABLE account_group (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            description TEXT NOT NULL,
            visibility TEXT NOT NULL,
            created_at BIGINT NOT NULL
        );
        CREATE TABLE group_member (
            group_id TEXT NOT NULL REFERENCES account_group (id),
            user_id TEXT NOT NULL REFERENCES account (id),
            role TEXT NOT NULL,
            created_at BIGINT NOT NULL,
            PRIMARY KEY (group_id, user_id)
        );
        CREATE INDEX group_member_user ON group_member (user_id);
        CREATE TABLE project_member (
            project_id TEXT NOT NULL,
            user_id TEXT NOT NULL REFERENCES account (id),
            role TEXT NOT NULL,
            created_at BIGINT NOT NULL,
            PRIMARY KEY (project_id, user_id)
        );
        CREATE INDEX project_member_user ON project_member (user_id);
        CREATE TABLE session (
            id TEXT PRIMARY KEY,
            secret_hash TEXT NOT NULL UNIQUE,
            user_id TEXT NOT NULL REFERENCES account (id),
            created_at BIGINT NOT NULL,
            last_used_at BIGINT NOT NULL,
            address TEXT NOT NULL,
            user_agent TEXT NOT NULL
        );
        CREATE INDEX session_by_user ON session (user_id);
        CREATE INDEX session_last_used ON session (last_used_at);
        CREATE TABLE access_token (
            id TEXT PRIMARY KEY,
            secret_hash TEXT NOT NULL UNIQUE,
            name TEXT NOT NULL,
            user_id TEXT REFERENCES account (id),
            project_id TEXT,
            group_id TEXT,
            role TEXT,
            scopes TEXT NOT NULL,
            created_by TEXT NOT NULL REFERENCES account (id),
            created_at BIGINT NOT NULL,
            expires_at BIGINT,
            last_used_at BIGINT,
            revoked_at BIGINT
        );
        CREATE INDEX access_token_user ON access_token (user_id, created_at);
        CREATE INDEX access_token_project ON access_token (project_id, created_at);
        CREATE INDEX access_token_creator ON access_token (created_by);
        CREATE TABLE ssh_key (
            id TEXT PRIMARY KEY,
            user_id TEXT NOT NULL REFERENCES account (id),
            title TEXT NOT NULL,
            algorithm TEXT NOT NULL,
            public_key TEXT NOT NULL,
            fingerprint TEXT NOT NULL UNIQUE,
            created_at BIGINT NOT NULL,
            last_used_at BIGINT
        );
        CREATE INDEX ssh_key_user ON ssh_key (user_id, created_at);
        CREATE TABLE sign_in_failure (
            subject TEXT PRIMARY KEY,
            failures BIGINT NOT NULL,
            last_at BIGINT NOT NULL,
            locked_until BIGINT NOT NULL,
            told_until BIGINT NOT NULL
        );
        CREATE INDEX sign_in_failure_last ON sign_in_failure (last_at);
    ",
    },
    Migration {
        id: "identity-2611-deploy-key",
        sql: "
        CREATE TABLE deploy_key (
            id TEXT PRIMARY KEY,
            project_id TEXT NOT NULL,
            title TEXT NOT NULL,
            algorithm TEXT NOT NULL,
            public_key TEXT NOT NULL,
            fingerprint TEXT NOT NULL UNIQUE,
            writes BOOLEAN NOT NULL,
            created_by TEXT NOT NULL,
            created_at BIGINT NOT NULL,
            last_used_at BIGINT
        );
        CREATE INDEX deploy_key_project ON deploy_key (project_id, created_at);
    ",
    },
    // From here on an external account is an outside partner: limited to named projects, and no more than developer.
    Migration {
        id: "identity-2611-partner",
        sql: "
        ALTER TABLE account ADD COLUMN ends_at BIGINT;
        ALTER TABLE project_member ADD COLUMN ends_at BIGINT;
        CREATE INDEX account_ends ON account (ends_at);
        CREATE INDEX project_member_ends ON project_member (ends_at);
        DELETE FROM group_member
         WHERE user_id IN (SELECT id FROM account WHERE instance_role = 'external');
        UPDATE project_member SET role = 'developer'
         WHERE role IN ('maintainer', 'owner')
           AND user_id IN (SELECT id FROM account WHERE instance_role = 'external');
    ",
    },
    // Whether the address was set by its holder: then it makes them owner of nothing.
    Migration {
        id: "identity-2711-email-own",
        sql: "ALTER TABLE account ADD COLUMN email_own BOOLEAN NOT NULL DEFAULT FALSE;",
    },
];
