-- One row: which history this is. Random, so that no other database has it.
CREATE TABLE store_epoch (
    epoch TEXT NOT NULL
) STRICT;
INSERT INTO store_epoch VALUES (lower(hex(randomblob(16))));

-- Tells two changes apart that were given the same sequence number, as after a restore from a backup.
ALTER TABLE change_log ADD COLUMN mark TEXT NOT NULL DEFAULT '';
