CREATE INDEX identity_grants_name ON identity_grants (name);
CREATE INDEX identity_codes_client ON identity_codes (client_id);
CREATE INDEX identity_devices_client ON identity_devices (client_id);
