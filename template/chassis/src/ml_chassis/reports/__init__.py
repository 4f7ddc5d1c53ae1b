"""Pages of HTML that a person reads: no script, no network, fit for a phone."""
