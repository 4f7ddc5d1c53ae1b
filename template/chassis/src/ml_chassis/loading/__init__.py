"""The load test: load a service and judge it by what slo.yaml states."""
