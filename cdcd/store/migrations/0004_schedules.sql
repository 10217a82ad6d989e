-- How far each schedule has ticked.

CREATE TABLE schedules (
  trigger   text PRIMARY KEY,
  schedule  text NOT NULL,
  timezone  text NOT NULL,
  last_tick timestamptz NOT NULL,
  at        timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE schedules IS 'The triggers of type SCHEDULE: up to when their ticks are dealt with. Written in the commit that stages a tick''s delivery.';
COMMENT ON COLUMN schedules.last_tick IS 'The newest tick that was delivered, staged or left out; when the schedule was first seen, if it has not ticked since.';
