"""The names of the files of a training run, in its adapter path."""

from __future__ import annotations

CHECKPOINT = "checkpoint.safetensors"
ADAPTERS = "adapters.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
LOG = "training_log.jsonl"
REPORT_ID = "report_id.txt"
METADATA_KEY = "training"
"""The entry of a checkpoint's metadata that has its run, as JSON."""
