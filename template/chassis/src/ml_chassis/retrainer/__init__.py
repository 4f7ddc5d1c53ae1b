"""An alert begins one retraining: what receives it, what runs, what came of it."""
