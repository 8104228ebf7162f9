"""Is a set usable, and what is in it: every file looked at before hours are spent on it."""
