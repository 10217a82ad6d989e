-- What a delivery caused, and which deliveries repeat it: both stand in the extensions of the later one. Rows' events have none, so these
-- indexes cost them next to nothing.
CREATE INDEX event_logs_cause ON event_logs ((extensions ->> 'causationid')) WHERE extensions ->> 'causationid' IS NOT NULL;
CREATE INDEX event_logs_replay ON event_logs ((extensions ->> 'cdcdreplayof')) WHERE extensions ->> 'cdcdreplayof' IS NOT NULL;
