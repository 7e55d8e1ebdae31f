-- A store of version 2, as commit 025d48f made it, with data. Written once; never changed.
CREATE TABLE _sqlx_migrations (version bigint PRIMARY KEY, description text NOT NULL, installed_on timestamptz NOT NULL DEFAULT now(), success boolean NOT NULL, checksum bytea NOT NULL, execution_time bigint NOT NULL);
-- Times are milliseconds since 1970. What the columns mean stands in the same file for SQLite.

CREATE TABLE client (
    -- COLLATE "C": the order of bytes, whatever language the database speaks.
    id       text COLLATE "C" PRIMARY KEY,
    revision bigint NOT NULL,
    document jsonb  NOT NULL
);

CREATE TABLE credential_use (
    client_id     text COLLATE "C" NOT NULL REFERENCES client (id) ON DELETE CASCADE,
    credential_id text   NOT NULL,
    last_used     bigint NOT NULL,
    PRIMARY KEY (client_id, credential_id)
);

CREATE TABLE signing_key (
    key_id         text COLLATE "C" PRIMARY KEY,
    algorithm      text   NOT NULL,
    create_time    bigint NOT NULL,
    sign_after     bigint NOT NULL,
    distrust_time  bigint,
    imported       boolean NOT NULL,
    sealing_key_id text   NOT NULL,
    sealed         bytea  NOT NULL
);

CREATE TABLE signing_key_version (
    version bigint NOT NULL
);
INSERT INTO signing_key_version VALUES (0);

CREATE TABLE revocation (
    kind           text COLLATE "C" NOT NULL,
    target         text COLLATE "C" NOT NULL,
    revoked_before bigint NOT NULL,
    forget_time    bigint NOT NULL,
    PRIMARY KEY (kind, target)
);
CREATE INDEX revocation_forget_time ON revocation (forget_time);

CREATE TABLE change_log (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    time     bigint NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
    kind     text   NOT NULL,
    subject  text   NOT NULL
);

CREATE TABLE admin_audit (
    number   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    time     bigint NOT NULL,
    actor    text   NOT NULL,
    action   text   NOT NULL,
    resource text   NOT NULL,
    document jsonb  NOT NULL
);
CREATE INDEX admin_audit_resource ON admin_audit (resource);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (1, 'init', true, '\x75ed1b23e829be7767ff71e33d37cc16226df6610d4b3eb1c7b602880ae1a67a250dda7c6483e7acaf3e3bdd60c0b049', 0);
-- Client assertions (RFC 7523) that were used, until they expire.
CREATE TABLE used_assertion (
    -- SHA-256 of client ID and `jti`.
    hash        bytea  NOT NULL PRIMARY KEY,
    forget_time bigint NOT NULL
);
CREATE INDEX used_assertion_forget_time ON used_assertion (forget_time);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (2, 'used assertions', true, '\x1b78c86f71bc789bad155086aeade1c88dadffba83bc90aade295e9efeb760663a52c3c9143e4f33cca9131ee7790165', 0);

INSERT INTO change_log (time, kind, subject) VALUES (1795000000000, 'keys', '');
INSERT INTO change_log (time, kind, subject) VALUES (1795000000000, 'client', 'orders');
INSERT INTO change_log (time, kind, subject) VALUES (1795000001000, 'revoked_token', 'jti-1');
INSERT INTO change_log (time, kind, subject) VALUES (1795000002000, 'revoked_client', 'orders');
INSERT INTO client (id, revision, document) VALUES ('orders', 2, '{"id": "orders", "display_name": "Orders", "grants": [{"audience": "inventory", "scopes": ["inventory.read", "inventory.write"], "default_scopes": ["inventory.read"]}], "credentials": [{"id": "73ff28c615d7d75d", "kind": {"secret": {"hmac": {"prefix": "tks_a1B2c3", "pepper_id": "5f1c6e0e", "mac": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}}, "create_time": 1795000000000, "expire_time": null}], "token_lifetime": null, "claims": {"team": "shop"}, "redirect_uris": [], "disabled": false, "grant_types": [], "jwks_uri": null, "may_impersonate": false, "registration": null, "labels": {"owner": "shop-team"}, "create_time": 1795000000000, "update_time": 1795000000000}');
INSERT INTO credential_use (client_id, credential_id, last_used) VALUES ('orders', '73ff28c615d7d75d', 1795000060000);
INSERT INTO signing_key (key_id, algorithm, create_time, sign_after, distrust_time, imported, sealing_key_id, sealed)
VALUES ('key-1', 'ES256', 1795000000000, 1795000000000, NULL, false, 'seal-1', '\x000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000');
UPDATE signing_key_version SET version = 1;
INSERT INTO revocation (kind, target, revoked_before, forget_time) VALUES ('token', 'jti-1', 1795000001000, 4102444800000);
INSERT INTO revocation (kind, target, revoked_before, forget_time) VALUES ('client', 'orders', 1795000002000, 4102444800000);
INSERT INTO used_assertion (hash, forget_time) VALUES ('\xabababababababababababababababababababababababababababababababab', 4102444800000);
INSERT INTO admin_audit (time, actor, action, resource, document)
VALUES (1795000000000, 'local:token-server client create --offline', 'CreateClient', 'orders', '{"time": 1795000000000, "actor": "local:token-server client create --offline", "action": "CreateClient", "resource": "orders", "request_id": "r-1", "detail": ""}');
