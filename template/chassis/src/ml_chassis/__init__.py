"""What every machine-learning service needs: data, training, serving, monitoring.

Attributes:
    PUBLIC: The public API: names by their modules, for a service's code, notebook and tests. All
        else is for the chassis alone, and may change with any version.
"""

PUBLIC = {
    "compatibility": ("breaking_changes", "interface"),
    "contract": ("Categorical", "Contract", "Numeric", "Predictions", "Task"),
    "data.store": ("open_store",),
    "data.tables": ("MISSING_WORDS", "ORIGIN", "POSITION", "Csv", "RawTable"),
    "measures": ("SMALLEST", "calibration", "measures_of"),
    "monitoring.files": ("problems",),
    "personal": ("PERSONAL",),
    "project": ("Project", "read"),
    "reference": ("pages",),
    "registry": ("load",),
    "reports.chart": ("Series", "draw", "named", "reach"),
    "reports.page": ("charts", "page"),
    "serving.bento": ("create_service",),
    "serving.mounted": ("application", "checked", "predictor"),
    "serving.predictor": ("Predictor",),
    "serving.runtime": ("Runtime",),
    "settings": ("read",),
    "sources.live": (
        *("LiveSource", "MISSING", "Observation", "Observed", "address", "possible_values"),
    ),
    "sources.resilience": ("Limits",),
    "testing": (
        *("Trained", "ask_routes", "other_service", "running_service", "trained"),
        *("valid_rows", "wrong_values"),
    ),
    "training.config": ("TrainingConfig", "read"),
    "training.estimator": ("Dataset", "Smaller", "load", "side_by_side"),
    "training.export": ("parity_difference",),
    "training.gates": ("judge",),
    "training.pytorch": ("codes_of", "convert", "encode"),
    "training.scikit_learn": ("Fitted", "convert", "with_float32_thresholds"),
    "training.shift": ("shifts",),
    "training.split": ("Split",),
}
