"""What can stand before an engine: a serving layer each, a file, found by name."""
