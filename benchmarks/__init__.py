"""What `make bench` runs: refreshes and membership checks, against what else one could do."""
