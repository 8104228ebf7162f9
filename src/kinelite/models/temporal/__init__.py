"""Parts over time of factorised models, found by the name in `net.temporal`: `parts` has the table."""
