-- What the columns mean stands in the same file for SQLite.

ALTER TABLE revocation ADD COLUMN issued_to text COLLATE "C";

CREATE TABLE token_lifetime (
    lifetime  bigint NOT NULL PRIMARY KEY,
    last_time bigint NOT NULL
);

INSERT INTO token_lifetime
SELECT 86400000, (extract(epoch FROM clock_timestamp()) * 1000)::bigint WHERE EXISTS (SELECT 1 FROM change_log);
