-- One row: which history this is. Random, so that no other database has it.
CREATE TABLE store_epoch (
    epoch text NOT NULL
);
INSERT INTO store_epoch VALUES (gen_random_uuid()::text);

-- Tells two changes apart that were given the same sequence number, as after a failover that lost the first of them.
ALTER TABLE change_log ADD COLUMN mark text NOT NULL DEFAULT gen_random_uuid()::text;
