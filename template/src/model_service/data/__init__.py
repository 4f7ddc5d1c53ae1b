"""From raw tables to clean, labelled rows."""
