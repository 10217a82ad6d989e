-- Transactions that notify commit one after the other, and cannot be prepared for a commit in two phases. So nobody notifies while the
-- daemon is awake and looks by itself, which an advisory lock tells, nor where transactions can be prepared, where it always does.
-- Called behind what was written, so that whoever takes the daemon to be awake is seen by his lock on `queued`.
CREATE OR REPLACE FUNCTION wake() RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  awake bigint := hashtextextended('cdcd.queue.awake', 'queued'::regclass::oid::bigint);
BEGIN
  IF current_setting('max_prepared_transactions') = '0'
     AND (CASE WHEN pg_try_advisory_lock_shared(awake) THEN pg_advisory_unlock_shared(awake) ELSE false END)
  THEN
    PERFORM pg_notify('cdcd_queued_' || 'queued'::regclass::oid, '');
  END IF;
END $$;
