"""From a name to a model: presets, folders, the hub, shapes, quantization, training data."""
