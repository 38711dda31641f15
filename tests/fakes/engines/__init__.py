"""Engines that are not there: one program that behaves on the wire as each release of each engine does."""
