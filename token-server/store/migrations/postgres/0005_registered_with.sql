-- Clients of one initial access token are counted when one more registers.
CREATE INDEX client_registered_with ON client ((document #>> '{registration,details,registered_with}'));
