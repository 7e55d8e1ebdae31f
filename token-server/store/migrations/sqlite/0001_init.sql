-- Times are milliseconds since 1970.

CREATE TABLE client (
    id       TEXT    NOT NULL PRIMARY KEY,
    -- The sequence number of the change that wrote it: unique for ever, also for an ID that is used again.
    revision INTEGER NOT NULL,
    -- Everything else, as JSON: a new field needs no migration.
    document TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- Beside the document, so that using a credential changes no client.
CREATE TABLE credential_use (
    client_id     TEXT    NOT NULL REFERENCES client (id) ON DELETE CASCADE,
    credential_id TEXT    NOT NULL,
    last_used     INTEGER NOT NULL,
    PRIMARY KEY (client_id, credential_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE signing_key (
    key_id         TEXT    NOT NULL PRIMARY KEY,
    algorithm      TEXT    NOT NULL,
    create_time    INTEGER NOT NULL,
    sign_after     INTEGER NOT NULL,
    distrust_time  INTEGER,
    -- 0 or 1: made elsewhere.
    imported       INTEGER NOT NULL,
    sealing_key_id TEXT    NOT NULL,
    sealed         BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- One row: what compare-and-set compares.
CREATE TABLE signing_key_version (
    version INTEGER NOT NULL
) STRICT;
INSERT INTO signing_key_version VALUES (0);

CREATE TABLE revocation (
    -- 'token' or 'client'.
    kind           TEXT    NOT NULL,
    target         TEXT    NOT NULL,
    revoked_before INTEGER NOT NULL,
    forget_time    INTEGER NOT NULL,
    PRIMARY KEY (kind, target)
) STRICT, WITHOUT ROWID;
CREATE INDEX revocation_forget_time ON revocation (forget_time);

-- Every change leaves a row here in its own transaction.
CREATE TABLE change_log (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    time     INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    -- 'client', 'keys', 'revoked_token' or 'revoked_client'.
    kind     TEXT    NOT NULL,
    subject  TEXT    NOT NULL
) STRICT;

CREATE TABLE admin_audit (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    time     INTEGER NOT NULL,
    actor    TEXT    NOT NULL,
    action   TEXT    NOT NULL,
    resource TEXT    NOT NULL,
    -- The rest, as JSON.
    document TEXT    NOT NULL
) STRICT;
CREATE INDEX admin_audit_resource ON admin_audit (resource);
