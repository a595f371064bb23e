"""What ends a step on a Mac although the memory suffices: refused, or told, before it runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.units import seconds
from pytest_yourai.estimate.array_count import arrays_held, loops_over_tokens
from pytest_yourai.estimate.buffers import over_the_buffer_limit
from pytest_yourai.estimate.long_operations import longest_operation
from pytest_yourai.machine.mac import display_is_on
from pytest_yourai.models.dataset_lengths import padded_length
from pytest_yourai.models.source import Inspection, ModelSource

_LONG_S = 2.0
"""Of one operation while a display waits. Apple documents no limit; with 1.6 s training ran."""


def over_a_limit(
    config: LoraConfig, source: ModelSource, inspection: Inspection, device: DeviceInfo
) -> tuple[str, str] | None:
    """Why no step of `config` can run on `device`, and the remedy; None where nothing forbids it.

    For the size of one array, or for the number of arrays, that Metal allows.
    """
    config = _longest(config, inspection)
    architecture = source.architecture
    if found := over_the_buffer_limit(config, architecture, source.quantization, device):
        return found
    most, held = device.max_buffers, _arrays_held(config, source, inspection, 1)
    if most is None or held <= most:
        return None
    reason = f"a step holds more than {held:,} arrays, and Metal allows {most:,} on this machine"
    return reason, "use a shorter max_seq_length, fewer lora_layers, or grad_checkpoint"


def limit_notes(
    configs: Iterable[LoraConfig],
    source: ModelSource,
    inspection: Inspection,
    device: DeviceInfo,
    display: Callable[[], bool | None] = display_is_on,
) -> Iterator[str]:
    """Lines about what may end training with any of `configs`; none where Metal is not used."""
    longest = [_longest(each, inspection) for each in configs]
    if device.backend != "metal" or not longest:
        return
    found = [longest_operation(each, source.architecture, device.name) for each in longest]
    slowest = max(filter(None, found), key=lambda each: each.seconds, default=None)
    if slowest is not None and slowest.seconds > _LONG_S and display():
        yield (
            f"a display is on, and {slowest.name} takes about {seconds(slowest.seconds)} at a time "
            "on this GPU: macOS may end it (Impacting Interactivity); let the display sleep (pmset "
            "displaysleepnow), or set AGX_RELAX_CDM_CTXSTORE_TIMEOUT=1"
        )
    if loops_over_tokens(source.architecture):
        yield (
            "models with recurrent layers were reported to end in `Resource limit exceeded` on "
            "Macs, after some hundred steps of training: train with yourai train "
            "--reload-interval 200"
        )
    yield from _shapes_note(longest, source, inspection, device)


def _shapes_note(
    configs: Iterable[LoraConfig], source: ModelSource, inspection: Inspection, device: DeviceInfo
) -> Iterator[str]:
    """That an epoch of the data compiles too many shapes, as MLX forgets none of them."""
    data, most = inspection.data, device.max_buffers
    if data is None or most is None:
        return
    for config in configs:
        shapes = data.epoch(config.batch_size, config.max_seq_length).padded_shapes
        steps = 2 if config.grad_accumulation_steps > 1 else 1
        held = _arrays_held(config, source, inspection, steps * shapes)
        if held > most:
            yield (
                f"an epoch of this data compiles {shapes:,} shapes, which hold about {held:,} "
                f"arrays, and Metal allows {most:,}: mlx_lm.lora would end in `Resource limit "
                "exceeded`; train with yourai train --reload-interval, or cut rows shorter"
            )
            return


def _arrays_held(
    config: LoraConfig, source: ModelSource, inspection: Inspection, shapes: int
) -> int:
    sizes = inspection.sizes.get(config.lora_keys)
    linears = len(sizes.linears) if sizes else 0
    return arrays_held(config, source.architecture, linears, shapes)


def _longest(config: LoraConfig, inspection: Inspection) -> LoraConfig:
    """`config` with rows as long as the longest batch of the data has."""
    if inspection.data is None:
        return config
    longest = padded_length(inspection.data.longest, config.max_seq_length)
    return dataclasses.replace(config, max_seq_length=longest)
