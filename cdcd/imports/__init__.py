"""Coming from elsewhere: what Space Cloud, Hasura and Supabase were told becomes triggers, and what has no equal is told line by line."""
