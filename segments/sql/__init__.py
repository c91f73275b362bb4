"""Everything this package says to Postgres, and the one door through which it says it."""
