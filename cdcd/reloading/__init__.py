"""Taking over another configuration without a restart: read, compared, checked, prepared, and then in force at one position."""
