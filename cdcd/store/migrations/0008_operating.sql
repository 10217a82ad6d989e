-- What an operator asks for: finding deliveries, trying them again, pausing a trigger, and jobs over many deliveries.

-- Ids begin with the event's time, so their order is that of time. The indexes of what is not processed cost the live path nothing.
CREATE INDEX event_logs_trigger ON event_logs (trigger, id);
-- A key may be longer than an entry of an index.
CREATE INDEX event_logs_key ON event_logs (left(key, 200), id);
CREATE INDEX event_logs_open ON event_logs (status, id) WHERE status <> 'processed';
CREATE INDEX event_logs_open_trigger ON event_logs (status, trigger, id) WHERE status <> 'processed';
DROP INDEX event_logs_failed;

-- A delivery that an operator has asked to be tried again: its attempts go on counting, the retry policy begins anew.
ALTER TABLE pending ADD COLUMN earlier integer NOT NULL DEFAULT 0 CONSTRAINT earlier_made CHECK (earlier BETWEEN 0 AND attempts);
ALTER TABLE pending ADD COLUMN since timestamptz;
COMMENT ON COLUMN pending.earlier IS 'Attempts that the retry policy no longer counts: those before an operator asked to try again.';
COMMENT ON COLUMN pending.since IS 'When an operator asked to try again: max_age counts from then. NULL: never.';

CREATE TABLE paused (
  trigger text PRIMARY KEY,
  since   timestamptz NOT NULL DEFAULT now(),
  who     text NOT NULL
);
COMMENT ON TABLE paused IS 'Triggers that go on capturing and send nothing until they are resumed.';

CREATE TABLE operations (
  id         uuid PRIMARY KEY,
  action     text NOT NULL CONSTRAINT action_possible CHECK (action IN ('retry', 'cancel', 'replay', 'send', 'pause', 'resume')),
  filter     json NOT NULL,
  options    json NOT NULL,
  who        text NOT NULL,
  state      text NOT NULL CONSTRAINT state_possible CHECK (state IN ('running', 'done', 'stopped', 'failed')),
  total      bigint NOT NULL DEFAULT 0,
  exact      boolean NOT NULL DEFAULT true,
  done       bigint NOT NULL DEFAULT 0,
  skipped    bigint NOT NULL DEFAULT 0,
  failed     bigint NOT NULL DEFAULT 0,
  reached    uuid,
  remark     text NOT NULL DEFAULT '',
  started_at timestamptz NOT NULL DEFAULT now(),
  ended_at   timestamptz,
  CONSTRAINT ended_when_over CHECK ((state = 'running') = (ended_at IS NULL))
);
COMMENT ON TABLE operations IS 'What operators did to deliveries and triggers: one row an action, with the progress of long ones.';
COMMENT ON COLUMN operations.total IS 'How many deliveries the filter selected at the start; at least so many unless exact.';
COMMENT ON COLUMN operations.skipped IS 'Selected, but there was nothing to be done for them.';
COMMENT ON COLUMN operations.reached IS 'The last delivery that was dealt with: where it goes on after a restart.';
CREATE INDEX operations_started ON operations (started_at DESC, id DESC);

CREATE TABLE redirected (
  id        uuid PRIMARY KEY,
  url       text NOT NULL,
  operation uuid NOT NULL,
  at        timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE redirected IS 'Deliveries that an operator had sent to another URL than their trigger''s. Credentials in the URL are left out.';
CREATE INDEX redirected_at ON redirected (at);
