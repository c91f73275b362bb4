"""The parts of the form of a segment: its fields, its preview, and what the editor completes."""
