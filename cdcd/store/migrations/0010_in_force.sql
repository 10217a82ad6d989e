-- Which triggers there were, so that what they were owed is kept when cdcd starts without one of them.

CREATE TABLE in_force (
  name text PRIMARY KEY,
  definition json NOT NULL,
  since timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE in_force IS 'The triggers that count, and those that are gone and may still be owed something.';
COMMENT ON COLUMN in_force.definition IS 'What decides which events it wants; nothing of where they are sent.';
COMMENT ON COLUMN in_force.since IS 'Since when it wants these.';
