-- Client assertions (RFC 7523) that were used, until they expire.
CREATE TABLE used_assertion (
    -- SHA-256 of client ID and `jti`.
    hash        bytea  NOT NULL PRIMARY KEY,
    forget_time bigint NOT NULL
);
CREATE INDEX used_assertion_forget_time ON used_assertion (forget_time);
