-- A store of version 2, as commit 025d48f made it, with data. Written once; never changed.
CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL, execution_time BIGINT NOT NULL);
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
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (1, 'init', 1, x'd26718ccda0af11f4885d23dda207a8af1280b14bc440bdbdffb1f844cd853275e30cca4994e075d8f5eb9e78f31bad9', 0);
-- Client assertions (RFC 7523) that were used, until they expire.
CREATE TABLE used_assertion (
    -- SHA-256 of client ID and `jti`.
    hash        BLOB    NOT NULL PRIMARY KEY,
    forget_time INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX used_assertion_forget_time ON used_assertion (forget_time);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (2, 'used assertions', 1, x'ef54fdbc76a34c1948bef23cfd0ff7fb0b7cbed8905c2469f3bbb87fa8f1fef7628ca9243e2531b8eac5b04aef082d01', 0);

INSERT INTO change_log (time, kind, subject) VALUES (1795000000000, 'keys', '');
INSERT INTO change_log (time, kind, subject) VALUES (1795000000000, 'client', 'orders');
INSERT INTO change_log (time, kind, subject) VALUES (1795000001000, 'revoked_token', 'jti-1');
INSERT INTO change_log (time, kind, subject) VALUES (1795000002000, 'revoked_client', 'orders');
INSERT INTO client (id, revision, document) VALUES ('orders', 2, '{"id": "orders", "display_name": "Orders", "grants": [{"audience": "inventory", "scopes": ["inventory.read", "inventory.write"], "default_scopes": ["inventory.read"]}], "credentials": [{"id": "73ff28c615d7d75d", "kind": {"secret": {"hmac": {"prefix": "tks_a1B2c3", "pepper_id": "5f1c6e0e", "mac": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}}, "create_time": 1795000000000, "expire_time": null}], "token_lifetime": null, "claims": {"team": "shop"}, "redirect_uris": [], "disabled": false, "grant_types": [], "jwks_uri": null, "may_impersonate": false, "registration": null, "labels": {"owner": "shop-team"}, "create_time": 1795000000000, "update_time": 1795000000000}');
INSERT INTO credential_use (client_id, credential_id, last_used) VALUES ('orders', '73ff28c615d7d75d', 1795000060000);
INSERT INTO signing_key (key_id, algorithm, create_time, sign_after, distrust_time, imported, sealing_key_id, sealed)
VALUES ('key-1', 'ES256', 1795000000000, 1795000000000, NULL, 0, 'seal-1', x'000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000');
UPDATE signing_key_version SET version = 1;
INSERT INTO revocation (kind, target, revoked_before, forget_time) VALUES ('token', 'jti-1', 1795000001000, 4102444800000);
INSERT INTO revocation (kind, target, revoked_before, forget_time) VALUES ('client', 'orders', 1795000002000, 4102444800000);
INSERT INTO used_assertion (hash, forget_time) VALUES (x'abababababababababababababababababababababababababababababababab', 4102444800000);
INSERT INTO admin_audit (time, actor, action, resource, document)
VALUES (1795000000000, 'local:token-server client create --offline', 'CreateClient', 'orders', '{"time": 1795000000000, "actor": "local:token-server client create --offline", "action": "CreateClient", "resource": "orders", "request_id": "r-1", "detail": ""}');
