-- The client that a revoked token was issued to, by which the revocations of one client are counted. NULL where it is
-- not known, and for a client's own revocation.
ALTER TABLE revocation ADD COLUMN issued_to TEXT;

-- Each lifetime that was configured as the longest one, in milliseconds, and when it last was: a revocation must be
-- kept for as long as a token of that time may live.
CREATE TABLE token_lifetime (
    lifetime  INTEGER NOT NULL PRIMARY KEY,
    last_time INTEGER NOT NULL
) STRICT;

-- A store that was used before: it is not known what was configured, so a day, the longest that can be.
INSERT INTO token_lifetime
SELECT 86400000, CAST(unixepoch('subsec') * 1000 AS INTEGER) WHERE EXISTS (SELECT 1 FROM change_log);
