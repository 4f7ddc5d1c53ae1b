"""Releases that are played on one machine: good and bad candidates, with real traffic."""
