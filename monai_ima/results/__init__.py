"""``results.json``: its schema, statistics, subgroups, and the folder that an evaluation writes to."""
