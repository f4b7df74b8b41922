-- Times are microseconds since 1970-01-01T00:00:00Z. Ids are hyphenated UUIDs.
-- Names of states, kinds and steps are those of the API. Documents are JSON.
--
-- A commit costs about what it costs to write its pages. So there is no index
-- that nothing needs, and no column in the WHERE of an index changes with every
-- write. Tables of small rows with a text as key have no row ids, which would
-- be a second tree; tables of large rows have, or their rows would not fit.

CREATE TABLE quark_meta (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What leaps have added to every number, for apps that are not known yet.
INSERT INTO quark_meta (key, value) VALUES ('leapt', '0');

CREATE TABLE quark_apps (
    name TEXT NOT NULL PRIMARY KEY,
    team TEXT NOT NULL,
    spec TEXT NOT NULL,
    serving TEXT NOT NULL,
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    removed_at INTEGER,
    -- The project whose environment it is. Never changes.
    project TEXT
) STRICT;

CREATE INDEX quark_apps_of_project ON quark_apps (project, name) WHERE project IS NOT NULL;

-- Apps with environments, each of which is an app of its own.
CREATE TABLE quark_projects (
    name TEXT NOT NULL PRIMARY KEY,
    team TEXT NOT NULL,
    spec TEXT NOT NULL,
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    removed_at INTEGER
) STRICT;

-- The host names of all apps: one name, one app.
CREATE TABLE quark_domains (
    domain TEXT NOT NULL PRIMARY KEY,
    app TEXT NOT NULL REFERENCES quark_apps (name) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX quark_domains_of_app ON quark_domains (app);

-- The addresses of all slots: one address, one app.
CREATE TABLE quark_endpoints (
    endpoint TEXT NOT NULL PRIMARY KEY,
    app TEXT NOT NULL REFERENCES quark_apps (name) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX quark_endpoints_of_app ON quark_endpoints (app);

-- Outlives its app: the history stays, and the numbering goes on should an app
-- of the same name come again. Hence no reference to quark_apps.
CREATE TABLE quark_deployments (
    id TEXT NOT NULL PRIMARY KEY,
    app TEXT NOT NULL,
    team TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    kind TEXT NOT NULL,
    release TEXT NOT NULL,
    revision TEXT NOT NULL,
    artifact TEXT,
    slot TEXT,
    state TEXT NOT NULL,
    -- What kind of state that is. It changes twice in the life of a deployment,
    -- and with it the indexes below.
    stage TEXT NOT NULL
        CHECK (stage = CASE state WHEN 'queued' THEN 'queued' WHEN 'completed' THEN 'ended' ELSE 'active' END),
    conclusion TEXT,
    failure TEXT,
    -- The question to people whether it may serve, and their answers.
    approval TEXT,
    -- What was seen of it since it was promoted, if it is watched.
    bake TEXT,
    -- What it was planned from, if it was planned. Written once.
    expects TEXT,
    -- What was seen of it while it is live, if that was worth a word.
    liveness TEXT,
    -- Its way through the shares of the requests that it got before, if its app asks for that.
    canary TEXT,
    cancel_requested_by TEXT,
    cancel_requested_at INTEGER,
    -- The newer deployment because of which the wish was made.
    cancel_superseded_by TEXT,
    fence INTEGER NOT NULL,
    version INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    trigger_kind TEXT NOT NULL,
    idempotency_key TEXT,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    UNIQUE (app, sequence)
) STRICT;

-- The rule that nothing may break: an app has at most one active deployment.
CREATE UNIQUE INDEX quark_deployments_active ON quark_deployments (app) WHERE stage = 'active';

CREATE INDEX quark_deployments_queued ON quark_deployments (app, sequence) WHERE stage = 'queued';

-- Whoever asks twice under one key gets one deployment.
CREATE UNIQUE INDEX quark_deployments_key ON quark_deployments (app, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

CREATE TABLE quark_steps (
    deployment TEXT NOT NULL,
    name TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    -- Counts the steps of a deployment in the order in which they were first begun.
    position INTEGER NOT NULL,
    phase TEXT NOT NULL,
    fence INTEGER NOT NULL,
    -- How often an engine went on with what another one had begun.
    resumed INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    finished_at INTEGER,
    deadline INTEGER NOT NULL,
    output TEXT,
    failure TEXT,
    PRIMARY KEY (deployment, name, attempt)
) STRICT, WITHOUT ROWID;

-- What is there, or about to be: an instance that was removed is deleted, the
-- events tell of it.
CREATE TABLE quark_instances (
    app TEXT NOT NULL,
    name TEXT NOT NULL,
    deployment TEXT NOT NULL,
    replica INTEGER NOT NULL,
    slot TEXT NOT NULL,
    state TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    -- What it may use: thousandths of a processor, bytes, processes.
    cpu_millis INTEGER NOT NULL,
    memory_bytes INTEGER NOT NULL,
    pids INTEGER NOT NULL,
    PRIMARY KEY (app, name)
) STRICT, WITHOUT ROWID;

-- Never deleted: the fence of an app must grow for ever. A released lease has
-- no owner.
CREATE TABLE quark_leases (
    app TEXT NOT NULL PRIMARY KEY,
    owner TEXT,
    fence INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Never deleted: numbers go on from the last one. (AUTOINCREMENT would do the
-- same with one more page in each commit.) A leap ends in a row without an app.
CREATE TABLE quark_events (
    sequence INTEGER PRIMARY KEY,
    app TEXT NOT NULL,
    deployment TEXT NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL
) STRICT;

CREATE INDEX quark_events_of_deployment ON quark_events (deployment, sequence);

CREATE TABLE quark_logs (
    deployment TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    at INTEGER NOT NULL,
    stream TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (deployment, sequence)
) STRICT, WITHOUT ROWID;

-- A job that is done is deleted. No reference to quark_deployments: the queue
-- may be used without the store. Ids grow with time.
CREATE TABLE quark_jobs (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    deployment TEXT NOT NULL,
    app TEXT NOT NULL,
    priority INTEGER NOT NULL,
    run_at INTEGER NOT NULL,
    -- Not before this time: `run_at` at first, later when a job was given back.
    ready_at INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    -- One unfinished job of a key; a dead one has given it up.
    dedupe_key TEXT UNIQUE CHECK ((dedupe_key IS NULL) = (state = 'dead')),
    -- A delayed job becomes ready when somebody claims after its time.
    -- (A list would be made into a table each time that a row is written.)
    state TEXT NOT NULL CHECK (state = 'delayed' OR state = 'ready' OR state = 'claimed' OR state = 'dead'),
    owner TEXT,
    claim TEXT,
    visible_until INTEGER,
    reason TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX quark_jobs_delayed ON quark_jobs (ready_at) WHERE state = 'delayed';

-- In the order in which they are claimed.
CREATE INDEX quark_jobs_ready ON quark_jobs (priority, ready_at, id) WHERE state = 'ready';

CREATE INDEX quark_jobs_claimed ON quark_jobs (visible_until) WHERE state = 'claimed';

CREATE INDEX quark_jobs_dead ON quark_jobs (id) WHERE state = 'dead';
