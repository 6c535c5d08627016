"""The BatchInferenceJob API: resource models, the CRD made from them, and the runner contract."""
