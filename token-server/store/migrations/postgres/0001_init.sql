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
