-- The federated identities of clients, by issuer and subject: a workload that does not send its client ID is found
-- without reading every client. A subject is '=' and the exact one, or '^' and a prefix.
CREATE TABLE federated_identity (
    issuer    TEXT NOT NULL,
    subject   TEXT NOT NULL,
    client_id TEXT NOT NULL REFERENCES client (id) ON DELETE CASCADE,
    PRIMARY KEY (issuer, subject, client_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX federated_identity_client ON federated_identity (client_id);
