-- Which triggers there were, so that what they are owed is kept when cdcd starts without one of them.

CREATE TABLE in_force (
  name text NOT NULL,
  source text NOT NULL,
  definition json NOT NULL,
  number bigint NOT NULL,
  PRIMARY KEY (name, source)
);
COMMENT ON TABLE in_force IS 'The triggers that count, and those that are gone and may still be owed something.';
COMMENT ON COLUMN in_force.source IS 'Where its events come from: the name of a database, or nothing for the queue.';
COMMENT ON COLUMN in_force.definition IS 'What decides which events it wants; nothing of where they are sent.';
COMMENT ON COLUMN in_force.number IS 'The newest configuration with this trigger, counted.';
