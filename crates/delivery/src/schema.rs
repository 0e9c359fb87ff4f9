//! Tables of this capability.

use bascule_store::Migration;

/// Migrations, in order.
pub const MIGRATIONS: &[Migration] = &[
    FIRST,
    crate::fleet::schema::AGENTS,
    STRATEGIES,
    PLANS,
    crate::site::schema::ENVIRONMENTS,
    EPOCH,
    crate::task::schema::TASKS,
    crate::site::schema::HOOKS,
    crate::carry::store::CARRY,
    VIEWS,
    SERVING,
    REPLICAS,
    crate::fleet::schema::CERTIFICATES,
    HUB,
    FINDINGS,
    crate::fleet::schema::PULLS,
    crate::preview::store::MIGRATION,
    crate::switch::store::SWITCHES,
    crate::site::schema::SYNC,
    crate::site::schema::TOLD,
    crate::site::schema::NAMES,
];

/// Findings in releases and drills in environments, as far as plans need them; who recalled a release.
const FINDINGS: Migration = Migration {
    id: "delivery-2611-findings",
    sql: "
        ALTER TABLE catalogue_release ADD COLUMN recall_cause TEXT NOT NULL DEFAULT '';
        CREATE TABLE catalogue_finding (
            release_id TEXT NOT NULL,
            finding_key TEXT NOT NULL,
            purl TEXT NOT NULL,
            project_id TEXT NOT NULL,
            version TEXT NOT NULL,
            advisory TEXT NOT NULL,
            severity BIGINT NOT NULL,
            package TEXT NOT NULL,
            component_version TEXT NOT NULL,
            fixed TEXT NOT NULL,
            development BOOLEAN NOT NULL,
            set_aside BOOLEAN NOT NULL,
            PRIMARY KEY (release_id, purl, finding_key)
        );
        CREATE INDEX catalogue_finding_of ON catalogue_finding (project_id, finding_key);
        CREATE TABLE running_drill (
            number BIGINT PRIMARY KEY,
            environment TEXT NOT NULL,
            reason TEXT NOT NULL
        );
    ",
};

/// Many environments: what belongs in them, what may be there, and what is planned.
const PLANS: Migration = Migration {
    id: "delivery-0004-plans",
    sql: "
        ALTER TABLE environment ADD COLUMN declared BOOLEAN NOT NULL DEFAULT FALSE;
        ALTER TABLE deployment ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';
        CREATE INDEX environment_name ON environment (name);
        CREATE TABLE site (
            name TEXT PRIMARY KEY,
            body TEXT NOT NULL,
            sha TEXT NOT NULL,
            declared_at BIGINT NOT NULL,
            removed_at BIGINT
        );
        CREATE TABLE suppression (
            site TEXT NOT NULL,
            cause TEXT NOT NULL,
            reason TEXT NOT NULL,
            actor TEXT NOT NULL,
            opened_at BIGINT NOT NULL,
            until_at BIGINT,
            PRIMARY KEY (site, cause)
        );
        CREATE TABLE open_incident (
            incident_id TEXT PRIMARY KEY,
            project_id TEXT NOT NULL,
            number BIGINT NOT NULL
        );
        CREATE TABLE catalogue_release (
            release_id TEXT PRIMARY KEY,
            project_id TEXT NOT NULL,
            version TEXT NOT NULL,
            sha TEXT NOT NULL,
            relations TEXT NOT NULL,
            published_at BIGINT NOT NULL,
            recall_reason TEXT,
            recall_floor TEXT,
            UNIQUE (project_id, version)
        );
        CREATE TABLE catalogue_channel (
            release_id TEXT NOT NULL REFERENCES catalogue_release (release_id),
            channel TEXT NOT NULL,
            at BIGINT NOT NULL,
            PRIMARY KEY (release_id, channel)
        );
        CREATE TABLE delivery_approval (
            project_id TEXT NOT NULL,
            version TEXT NOT NULL,
            scope TEXT NOT NULL,
            team TEXT NOT NULL,
            actor TEXT NOT NULL,
            at BIGINT NOT NULL,
            PRIMARY KEY (project_id, version, scope, team)
        );
        CREATE TABLE plan (
            environment_id TEXT PRIMARY KEY REFERENCES environment (id),
            state TEXT NOT NULL,
            current TEXT NOT NULL,
            target TEXT NOT NULL,
            step TEXT NOT NULL,
            why TEXT NOT NULL,
            verdicts TEXT NOT NULL,
            at BIGINT NOT NULL
        );
        CREATE INDEX plan_state ON plan (state);
        CREATE TABLE plan_log (
            environment_id TEXT NOT NULL REFERENCES environment (id),
            at BIGINT NOT NULL,
            state TEXT NOT NULL,
            current TEXT NOT NULL,
            target TEXT NOT NULL,
            step TEXT NOT NULL,
            why TEXT NOT NULL,
            verdicts TEXT NOT NULL,
            PRIMARY KEY (environment_id, at)
        );
    ",
};

/// What plans are made of has an epoch; what failed is kept apart from history; a person's going back holds.
const EPOCH: Migration = Migration {
    id: "delivery-0010-epoch",
    sql: "
        INSERT INTO delivery_revision (name, value) VALUES ('plan', 1);
        ALTER TABLE environment ADD COLUMN left_version TEXT;
        ALTER TABLE environment ADD COLUMN left_by TEXT;
        CREATE TABLE plan_failure (
            environment_id TEXT NOT NULL REFERENCES environment (id),
            version TEXT NOT NULL,
            reason TEXT NOT NULL,
            settings TEXT NOT NULL,
            at BIGINT NOT NULL,
            PRIMARY KEY (environment_id, version)
        );
        INSERT INTO plan_failure (environment_id, version, reason, settings, at)
            SELECT f.environment_id, f.version, 'it failed here: ' || f.reason, f.settings, f.finished_at
            FROM deployment f
            WHERE f.status IN ('failed', 'rolled_back') AND f.id = (
                SELECT MAX(l.id) FROM deployment l WHERE l.environment_id = f.environment_id
                AND l.version = f.version AND l.status IN ('failed', 'rolled_back', 'succeeded'));
        CREATE INDEX environment_serving ON environment (serving_id);
    ",
};

/// The orders in which views page through the fleet.
const VIEWS: Migration = Migration {
    id: "delivery-0009-views",
    sql: "
        CREATE INDEX environment_place ON environment (name, project_path);
        CREATE INDEX environment_path ON environment (project_path, name);
        CREATE INDEX plan_waits ON plan (state, at, environment_id);
    ",
};

/// Several instances of a deployment, and rollouts that replace them.
const REPLICAS: Migration = Migration {
    id: "delivery-0007-replicas",
    sql: "
        ALTER TABLE instance ADD COLUMN baseline BOOLEAN NOT NULL DEFAULT FALSE;
        ALTER TABLE rollout ADD COLUMN fresh BOOLEAN NOT NULL DEFAULT FALSE;
        ALTER TABLE rollout ADD COLUMN old_count BIGINT NOT NULL DEFAULT 1;
        ALTER TABLE rollout ADD COLUMN down_at BIGINT;
        ALTER TABLE rollout ADD COLUMN up_at BIGINT;
    ",
};

/// What a serving deployment's instance says, and what an agent runs, are found without looking at every install:
/// the planner, agents' calls and the views ask it for each of thousands.
const SERVING: Migration = Migration {
    id: "delivery-0009-serving",
    sql: "
        CREATE INDEX instance_serving ON instance (deployment_id, desired, id, state);
        CREATE INDEX environment_agent ON environment (agent_id);
    ",
};

/// What thousands of installs need: what each agent is told has a revision of its own, what changed is written down
/// so that only what it bears on is planned, and an install's worst instance is found by index.
const HUB: Migration = Migration {
    id: "delivery-2611-hub",
    sql: "
        CREATE TABLE agent_told (agent_id TEXT PRIMARY KEY, revision BIGINT NOT NULL);
        CREATE INDEX agent_told_revision ON agent_told (revision);
        ALTER TABLE agent ADD COLUMN said TEXT NOT NULL DEFAULT '';
        ALTER TABLE agent ADD COLUMN said_revision BIGINT NOT NULL DEFAULT 0;
        ALTER TABLE agent ADD COLUMN silent_at BIGINT;
        CREATE TABLE plan_change (epoch BIGINT PRIMARY KEY, what TEXT NOT NULL);
        INSERT INTO delivery_revision (name, value) VALUES ('releases', 1);
        CREATE INDEX delivery_approval_scope ON delivery_approval (scope);
        CREATE INDEX instance_worst ON instance (deployment_id, desired, baseline, retired_at, state);
    ",
};

/// Pauses that a policy makes.
const STRATEGIES: Migration = Migration {
    id: "delivery-0003-strategies",
    sql: "ALTER TABLE rollout ADD COLUMN held BOOLEAN NOT NULL DEFAULT FALSE;",
};

const FIRST: Migration = Migration {
    id: "delivery-0001",
    sql: "
        CREATE TABLE agent (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            token_hash TEXT NOT NULL UNIQUE,
            version TEXT NOT NULL,
            online BOOLEAN NOT NULL,
            seen_at BIGINT,
            said_at BIGINT,
            skew_ms BIGINT NOT NULL,
            disk_free BIGINT NOT NULL,
            created_at BIGINT NOT NULL
        );
        CREATE TABLE edge (
            name TEXT PRIMARY KEY,
            token_hash TEXT NOT NULL UNIQUE,
            acked BIGINT NOT NULL,
            seen_at BIGINT,
            created_at BIGINT NOT NULL
        );
        CREATE TABLE delivery_revision (name TEXT PRIMARY KEY, value BIGINT NOT NULL);
        INSERT INTO delivery_revision (name, value) VALUES ('agent', 1);
        INSERT INTO delivery_revision (name, value) VALUES ('edge', 1);
        CREATE TABLE product (
            project_id TEXT PRIMARY KEY,
            release_id TEXT NOT NULL,
            body TEXT NOT NULL,
            updated_at BIGINT NOT NULL
        );
        CREATE TABLE delivery_release (release_id TEXT PRIMARY KEY, at BIGINT NOT NULL);
        CREATE TABLE environment (
            id TEXT PRIMARY KEY,
            project_id TEXT NOT NULL,
            project_path TEXT NOT NULL,
            name TEXT NOT NULL,
            tier TEXT NOT NULL,
            agent_id TEXT REFERENCES agent (id),
            serving_id TEXT,
            port BIGINT,
            url TEXT,
            created_at BIGINT NOT NULL,
            UNIQUE (project_id, name)
        );
        CREATE TABLE deployment (
            id TEXT PRIMARY KEY,
            project_id TEXT NOT NULL,
            environment_id TEXT NOT NULL REFERENCES environment (id),
            release_id TEXT NOT NULL,
            version TEXT NOT NULL,
            cause TEXT NOT NULL,
            actor TEXT NOT NULL,
            status TEXT NOT NULL,
            reason TEXT NOT NULL,
            forced TEXT NOT NULL,
            artifact_digest TEXT NOT NULL,
            artifact_size BIGINT NOT NULL,
            artifact_file TEXT NOT NULL,
            product TEXT NOT NULL,
            previous_id TEXT,
            created_at BIGINT NOT NULL,
            exposed_at BIGINT,
            finished_at BIGINT
        );
        CREATE INDEX deployment_environment ON deployment (environment_id, created_at);
        CREATE INDEX deployment_project ON deployment (project_id, created_at);
        CREATE INDEX deployment_release ON deployment (release_id);
        CREATE UNIQUE INDEX deployment_one_open ON deployment (environment_id) WHERE finished_at IS NULL;
        CREATE TABLE instance (
            id TEXT PRIMARY KEY,
            deployment_id TEXT NOT NULL REFERENCES deployment (id),
            environment_id TEXT NOT NULL REFERENCES environment (id),
            desired TEXT NOT NULL,
            weight BIGINT NOT NULL,
            state TEXT NOT NULL,
            address TEXT,
            pid BIGINT,
            restarts BIGINT NOT NULL,
            message TEXT NOT NULL,
            smoke TEXT,
            started_at BIGINT,
            state_at BIGINT NOT NULL,
            reported_at BIGINT,
            retired_at BIGINT,
            retired_revision BIGINT,
            created_at BIGINT NOT NULL
        );
        CREATE INDEX instance_deployment ON instance (deployment_id);
        CREATE INDEX instance_environment ON instance (environment_id, desired);
        CREATE INDEX instance_desired ON instance (desired);
        CREATE TABLE rollout (
            id TEXT PRIMARY KEY,
            project_id TEXT NOT NULL,
            environment_id TEXT NOT NULL REFERENCES environment (id),
            deployment_id TEXT NOT NULL REFERENCES deployment (id),
            old_deployment_id TEXT NOT NULL REFERENCES deployment (id),
            new_instance_id TEXT NOT NULL REFERENCES instance (id),
            old_instance_id TEXT NOT NULL REFERENCES instance (id),
            version TEXT NOT NULL,
            baseline TEXT NOT NULL,
            policy TEXT NOT NULL,
            status TEXT NOT NULL,
            step BIGINT NOT NULL,
            step_at BIGINT NOT NULL,
            weight BIGINT NOT NULL,
            extended BOOLEAN NOT NULL,
            recovering_at BIGINT,
            base_restarts BIGINT NOT NULL,
            judge TEXT NOT NULL,
            judged_until BIGINT NOT NULL,
            cause TEXT,
            reason TEXT NOT NULL,
            first_error_at BIGINT,
            created_at BIGINT NOT NULL,
            finished_at BIGINT
        );
        CREATE INDEX rollout_deployment ON rollout (deployment_id);
        CREATE INDEX rollout_project ON rollout (project_id, created_at);
        CREATE INDEX rollout_open ON rollout (finished_at);
        CREATE TABLE rollout_second (
            rollout_id TEXT NOT NULL REFERENCES rollout (id),
            edge TEXT NOT NULL,
            instance_id TEXT NOT NULL,
            at BIGINT NOT NULL,
            requests BIGINT NOT NULL,
            errors BIGINT NOT NULL,
            slow BIGINT NOT NULL,
            PRIMARY KEY (rollout_id, at, instance_id, edge)
        );
        CREATE TABLE rollout_point (
            rollout_id TEXT NOT NULL REFERENCES rollout (id),
            at BIGINT NOT NULL,
            weight BIGINT NOT NULL,
            new_requests BIGINT NOT NULL,
            new_errors BIGINT NOT NULL,
            new_slow BIGINT NOT NULL,
            old_requests BIGINT NOT NULL,
            old_errors BIGINT NOT NULL,
            old_slow BIGINT NOT NULL,
            error_evidence DOUBLE PRECISION NOT NULL,
            slow_evidence DOUBLE PRECISION NOT NULL,
            PRIMARY KEY (rollout_id, at)
        );
    ",
};
