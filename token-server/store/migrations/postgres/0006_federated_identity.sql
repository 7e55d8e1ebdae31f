-- What the columns mean stands in the same file for SQLite.
CREATE TABLE federated_identity (
    issuer    text COLLATE "C" NOT NULL,
    subject   text COLLATE "C" NOT NULL,
    client_id text COLLATE "C" NOT NULL REFERENCES client (id) ON DELETE CASCADE,
    PRIMARY KEY (issuer, subject, client_id)
);
CREATE INDEX federated_identity_client ON federated_identity (client_id);
