-- Client assertions (RFC 7523) that were used, until they expire.
CREATE TABLE used_assertion (
    -- SHA-256 of client ID and `jti`.
    hash        BLOB    NOT NULL PRIMARY KEY,
    forget_time INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX used_assertion_forget_time ON used_assertion (forget_time);
