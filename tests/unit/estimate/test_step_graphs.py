"""Graphs of steps: how they are fused, put in order, and followed in memory."""

import pytest

from pytest_yourai.core.config import FineTuneType, LoraConfig
from pytest_yourai.estimate.array_layout import (
    broadcast_strides,
    dense_strides,
    is_dense,
    is_matrix,
    reshaped_strides,
)
from pytest_yourai.estimate.device_lag import UNDER_A_LIMIT, WITHOUT_A_LIMIT, DeviceLag
from pytest_yourai.estimate.evaluation_order import evaluation_order
from pytest_yourai.estimate.followed_step import estimate_of
from pytest_yourai.estimate.graph_checkpoints import Seams, with_checkpoints
from pytest_yourai.estimate.graph_experts import needed_alone, with_sorted_experts
from pytest_yourai.estimate.graph_fusion import fuse
from pytest_yourai.estimate.live_memory import Change, LiveMemory
from pytest_yourai.estimate.profiled_step import profile_of
from pytest_yourai.estimate.step_graph import Array, StepGraph
from pytest_yourai.models.step_profile import Holding, StepProfile, step_kind

from support.graphs import GraphMaker, number


def names(graph: StepGraph) -> list[str]:
    return [operation.name for operation in graph.operations]


def test_elementwise_operations_become_one() -> None:
    make = GraphMaker()
    x, w = make.given(4, 8), make.given(4, 8)
    product = make.made("Multiply", [x, w], 4, 8)
    result = make.made("Exp", [product], 4, 8)
    fused = fuse(make.graph(result))
    assert names(fused) == ["Compiled"]
    assert fused.operations[0].inputs == [x, w]
    assert result.maker is fused.operations[0]


def test_what_others_need_too_is_not_fused_away() -> None:
    make = GraphMaker()
    x = make.given(4, 8)
    squared = make.made("Square", [x], 4, 8)
    result = make.made("Exp", [squared], 4, 8)
    other = make.made("Matmul", [squared, x], 4, 4)
    assert names(fuse(make.graph(result, other))) == ["Square", "Exp", "Matmul"]


def test_a_result_among_fused_operations_stays_a_result() -> None:
    make = GraphMaker()
    squared = make.made("Square", [make.given(4, 8)], 4, 8)
    result = make.made("Exp", [squared], 4, 8)
    fused = fuse(make.graph(squared, result))
    assert [operation.outputs for operation in fused.operations] == [[squared, result]]


def test_a_result_of_another_shape_is_not_fused() -> None:
    make = GraphMaker()
    squared = make.made("Square", [make.given(8)], 8)
    wide = make.made("Add", [squared, make.given(4, 8)], 4, 8)
    result = make.made("Exp", [wide], 4, 8)
    fused = fuse(make.graph(squared, result))
    assert names(fused) == ["Square", "Compiled"]


def test_a_broadcast_is_fused_on_each_side_that_needs_it() -> None:
    make = GraphMaker()
    narrow, x, y = make.given(8), make.given(4, 8), make.given(4, 8)
    wide = make.made("Broadcast", [narrow], 4, 8)
    first = make.made("Exp", [make.made("Add", [x, wide], 4, 8)], 4, 8)
    second = make.made("Exp", [make.made("Add", [y, wide], 4, 8)], 4, 8)
    fused = fuse(make.graph(first, second))
    ends = [operation for operation in fused.operations if operation.name == "Compiled"]
    assert [operation.inputs for operation in ends] == [[x, narrow], [y, narrow]]


def test_sections_are_no_deeper_and_no_wider_than_mlx_makes_them() -> None:
    make = GraphMaker()
    array = make.given(4)
    for _ in range(20):
        array = make.made("Exp", [array], 4)
    assert names(fuse(make.graph(array))) == ["Compiled", "Compiled"]
    assert array.maker is not None
    make = GraphMaker()
    total = make.given(4)
    for _ in range(11):
        pair = make.made("Add", [make.given(4), make.given(4)], 4)
        triple = make.made("Add", [pair, make.given(4)], 4)
        total = make.made("Add", [total, triple], 4)
    assert len(fuse(make.graph(total)).operations) > 1


def test_an_array_that_is_needed_twice_is_fused_once() -> None:
    make = GraphMaker()
    squared = make.made("Square", [make.given(4)], 4)
    grown = make.made("Exp", [squared], 4)
    result = make.made("Add", [grown, make.made("Multiply", [grown, squared], 4)], 4)
    assert names(fuse(make.graph(result))) == ["Compiled"]


def test_operations_come_after_what_they_need() -> None:
    make = GraphMaker()
    x = make.given(4, 4)
    wide = [make.made("Sort", [x], 4, 4) for _ in range(30)]
    result = make.made("Concatenate", wide, 120, 4)
    split = make.several("Split", [result], (60, 4), (60, 4))
    last = make.made("Matmul", split, 60, 60)
    order = evaluation_order(make.graph(last, result).outputs)
    assert len(order) == 33
    for place, operation in enumerate(order):
        makers = {array.maker for array in operation.inputs if array.maker}
        assert makers <= set(order[:place])


def peak_of(graph: StepGraph) -> int:
    live = peak = sum(array.held_bytes for array in graph.inputs)
    memory = LiveMemory(graph.inputs, graph.outputs, graph.operations, DeviceLag())
    for change in memory.changes():
        live += sum(array.held_bytes for array in change.taken)
        peak = max(peak, live + sum(array.held_bytes for array in change.meanwhile))
        live -= sum(array.held_bytes for array in change.freed)
    return peak


def test_an_operation_takes_over_what_nothing_else_needs() -> None:
    make = GraphMaker()
    x = make.given(100)
    first = make.made("Sort", [x], 100)
    result = make.made("Exp", [first], 100)
    assert peak_of(make.graph(result)) == 400
    assert peak_of(make.graph(result, x)) == 800


def test_views_share_memory_until_the_last_one_is_gone() -> None:
    make = GraphMaker()
    x, w = make.given(10, 20), make.given(10, 5)
    turned = make.made("Transpose", [x], 20, 10, arguments=[(1, 0)])
    product = make.made("Matmul", [turned, w], 20, 5)
    assert peak_of(make.graph(product)) == 4 * (200 + 50 + 100)


def test_reshaping_a_turned_array_copies_it() -> None:
    make = GraphMaker()
    turned = make.made("Transpose", [make.given(10, 20)], 20, 10, arguments=[(1, 0)])
    flat = make.made("Reshape", [turned], 200)
    assert peak_of(make.graph(flat)) == 1600


def test_products_copy_what_is_no_matrix() -> None:
    make = GraphMaker()
    x = make.given(4, 10, 20)
    part = make.made("Slice", [x], 4, 10, 10, arguments=[(0, 0, 0), (4, 10, 20), (1, 1, 2)])
    product = make.made("Matmul", [part, make.given(10, 5)], 4, 10, 5)
    assert peak_of(make.graph(product)) == 4 * (800 + 50 + 200 + 400)


def test_a_softmax_of_a_broadcast_needs_it_in_rows() -> None:
    make = GraphMaker()
    wide = make.made("Broadcast", [make.given(1, 10)], 20, 10)
    assert peak_of(make.graph(make.made("Softmax", [wide], 20, 10))) == 40 + 800 + 800


def test_an_update_changes_what_nothing_else_needs() -> None:
    make = GraphMaker()
    x, rows = make.given(100), make.given(10)
    updated = make.made("SliceUpdate", [x, rows], 100)
    assert peak_of(make.graph(updated)) == 440
    assert peak_of(make.graph(updated, x)) == 840


def test_parts_of_an_array_keep_it() -> None:
    make = GraphMaker()
    first, second = make.several("Split", [make.given(100)], (50,), (50,))
    late = make.made("Depends", [first, second], 50)
    filled = make.made("Full", [], 50)
    product = make.made("Convolution", [late, filled], 50)
    unused = make.made("Reduce", [product], 1)
    assert peak_of(make.graph(product)) == 400 + 200 + 200
    assert peak_of(make.graph(unused)) == 400 + 200 + 200


def test_results_lie_like_their_inputs() -> None:
    make = GraphMaker()
    x = make.given(10, 20)
    turned = make.made("Transpose", [x], 20, 10, arguments=[(1, 0)])
    grown = make.made("Exp", [turned], 20, 10)
    flat = make.made("Flatten", [grown], 200)
    assert peak_of(make.graph(flat, x)) == 800 + 800 + 800


def changes_of(graph: StepGraph, lag: DeviceLag) -> list[Change]:
    return [*LiveMemory(graph.inputs, graph.outputs, graph.operations, lag).changes()]


def test_a_device_ends_whole_tasks_of_ten_dispatches() -> None:
    assert [DeviceLag(0).ended(number) for number in (0, 9, 10, 19, 20)] == [0, 0, 10, 10, 20]
    assert [DeviceLag(0, 3).ended(number) for number in (0, 6, 7, 16, 17)] == [-3, -3, 7, 7, 17]
    assert [DeviceLag(10).ended(number) for number in (99, 110, 119)] == [-10, 10, 10]
    assert DeviceLag().ended(7) == 7


def test_what_the_device_may_still_read_is_not_taken_over() -> None:
    make = GraphMaker()
    first = make.made("Matmul", [make.given(10, 10), make.given(10, 10)], 10, 10)
    total = make.made("Reduce", [first], 1)
    grown = make.made("Exp", [first], 10, 10)
    graph = make.graph(total, grown)
    at_once, late = (changes_of(graph, lag)[-1] for lag in (DeviceLag(), DeviceLag(0)))
    assert at_once.taken == []
    assert late.taken == [grown]
    assert changes_of(graph, DeviceLag(0, 6))[-1].taken == [], "the sum ended the task"


def test_an_operation_with_several_results_takes_over_nothing() -> None:
    make = GraphMaker()
    given = [make.given(100), make.given(100)]
    fused = make.several("Compiled", given, (100,), (100,))
    assert changes_of(make.graph(*fused), DeviceLag())[0].taken == fused


def test_dispatches_are_counted_as_the_cpu_submits_them() -> None:
    make = GraphMaker()
    x, row = make.given(4, 8), make.given(8)
    parts = make.made("Concatenate", [x, x, x], 12, 8)
    turned = make.made("Transpose", [parts], 8, 12, arguments=[(1, 0)])
    product = make.made("AddMM", [x, turned, row], 4, 12)
    copied = make.made("SliceUpdate", [product, row], 4, 12)
    updated = make.made("SliceUpdate", [copied, row], 4, 12)
    found = changes_of(make.graph(product, updated), DeviceLag())
    # One of each frees what was read.
    assert [each.dispatches for each in found] == [3 + 1, 0 + 1, 2 + 1, 2 + 1, 1 + 1]


def test_the_highest_moment_is_that_of_the_median_phase() -> None:
    def moment(weights: float) -> tuple[float, ...]:
        return (weights, *53 * (0.0,))

    phases = tuple((moment(weights),) for weights in (30.0, 10.0, 20.0))
    profile = StepProfile(phases, phases[:1])
    assert profile.highest(1, 1)[Holding.WEIGHTS] == 20
    assert profile.peak_bytes(1, 1) == 30
    assert len(UNDER_A_LIMIT) == len(phases)
    assert len(WITHOUT_A_LIMIT) == 1


def test_layouts() -> None:
    assert dense_strides((2, 3, 4)) == (12, 4, 1)
    assert is_dense((2, 1, 4), (4, 99, 1))
    assert not is_dense((2, 4), (8, 1))
    assert is_matrix((4,), (1,))
    assert is_matrix((2, 3, 4), (12, 1, 3))
    assert not is_matrix((3, 4), (8, 2))
    assert reshaped_strides((2, 3, 4), (12, 4, 1), (6, 4)) == (4, 1)
    assert reshaped_strides((3, 2, 4), (8, 24, 2), (3, 1, 2, 2, 2)) == (8, 8, 24, 4, 2)
    assert reshaped_strides((2, 1, 3, 4), (24, 7, 8, 2), (6, 4)) == (8, 2)
    assert reshaped_strides((2, 3), (1, 2), (1, 6)) is None
    assert reshaped_strides((4, 3), (1, 4), (1, 2, 2, 3)) == (0, 2, 1, 4)
    assert reshaped_strides((2, 3), (1, 2), (2, 3, 2)) is None
    assert reshaped_strides((4, 3), (1, 4), (3, 4)) is None
    assert broadcast_strides((1, 4), (4, 1), (3, 5, 4)) == (0, 0, 1)


def checkpointed_layers(seams: Seams, layers: int) -> StepGraph:
    """Layers whose backward pass needs their inner array, as traced between seams."""
    make = GraphMaker()
    x = make.given(10, 10)
    inner, exits = [], []
    for _ in range(layers):
        entry, leave = seams.next()
        source = make.made("Add", [x, number(entry)], 10, 10)
        inner.append(make.made("Concatenate", [source] * 3, 10, 30))
        result = make.made("Reduce", [inner[-1]], 10, 10)
        leave_wide = make.made("Broadcast", [number(leave)], 10, 10)
        exits.append(leave_wide)
        x = make.made("Multiply", [result, leave_wide], 10, 10)
    gradient = make.made("Reduce", [x], 10, 10)
    for kept, leave_wide in zip(reversed(inner), reversed(exits), strict=True):
        scaled = make.made("Multiply", [gradient, leave_wide], 10, 10)
        gradient = make.made("Matmul", [scaled, kept], 10, 10)
    return make.graph(gradient)


def test_checkpointed_layers_keep_their_input_alone() -> None:
    seams = Seams()
    graph = checkpointed_layers(seams, 3)
    found = with_checkpoints(graph, seams)
    kinds = [operation.name for operation in found.operations if operation.name != "Broadcast"]
    again = ["Depends", "Concatenate", "Matmul"]
    waits = [operation.inputs[1] for operation in found.operations if operation.name == "Depends"]
    assert [array.maker.name for array in waits if array.maker] == 3 * ["Reduce"], "for no gradient"
    assert kinds == ["Concatenate", "Reduce"] * 3 + ["Reduce"] + again * 3
    assert peak_of(found) < peak_of(checkpointed_layers(Seams(), 3))


def test_without_seams_nothing_is_checkpointed() -> None:
    make = GraphMaker()
    graph = make.graph(make.made("Exp", [make.given(4)], 4))
    assert with_checkpoints(graph, Seams()) is graph


def test_what_layers_share_is_not_computed_again() -> None:
    seams, make = Seams(), GraphMaker()
    shared = make.made("Arange", [], 10)
    entry, leave = seams.next()
    source = make.made("Add", [make.given(10), number(entry)], 10)
    inner = make.made("Gather", [source, shared], 10)
    marked = make.made("Multiply", [make.made("Scan", [inner, shared], 10), number(leave)], 10)
    entry, leave = seams.next()
    next_source = make.made("Add", [marked, number(entry)], 10)
    next_result = make.made("Gather", [next_source, shared], 10)
    end = make.made("Multiply", [next_result, number(leave)], 10)
    gradient = make.made("Multiply", [make.made("Reduce", [end], 10), number(leave)], 10)
    gradient = make.made("Gather", [gradient, shared], 10)
    gradient = make.made("Multiply", [gradient, number(seams.exits[0])], 10)
    last = make.made("Matmul", [gradient, inner], 10)
    found = with_checkpoints(make.graph(last), seams)
    assert names(found).count("Arange") == 1
    assert names(found).count("Gather") == 4


def test_gradients_of_sorted_experts_are_one_product() -> None:
    make = GraphMaker()
    rows, change, index = make.given(64, 1, 8), make.given(64, 1, 4), make.given(64)
    turned = make.made("Transpose", [change], 64, 4, 1, arguments=[(0, 2, 1)])
    each = make.made("GatherMM", [turned, rows, index, index], 64, 4, 8)
    wide = make.made("ExpandDims", [each], 64, 1, 4, 8)
    total = make.made("Scatter", [make.made("Full", [], 2, 4, 8), index, wide], 2, 4, 8)
    back = make.made("GatherQMM", [change, rows, index], 64, 1, 8)
    summed = make.made("Scatter", [make.made("Full", [], 64, 8), index, back], 64, 8)
    found = with_sorted_experts(make.graph(total, summed))
    assert names(found) == ["Transpose", "SegmentedMM", "GatherQMM", "Reshape"]


def test_other_sums_by_index_stay() -> None:
    make = GraphMaker()
    index = make.given(64)
    total = make.made("Scatter", [make.given(10, 4), index, make.given(64, 4)], 10, 4)
    make.made("Exp", [index], 64)
    found = with_sorted_experts(make.graph(total))
    assert names(found) == ["Scatter"]
    assert needed_alone(found).outputs == [total]


def adapter_graph(batch: int, rank: int) -> StepGraph:
    make = GraphMaker()
    weights, a, rows = make.given(40, 40), make.given(40, rank), make.given(batch, 40)
    weights.holding, a.holding = Holding.WEIGHTS, Holding.ADAPTERS
    inner = make.made("Matmul", [rows, a], batch, rank)
    plain = make.made("Matmul", [rows, weights], batch, 40)
    part = make.made("Slice", [plain], batch, 20, arguments=[(0, 0), (batch, 40), (1, 2)])
    scores = make.made("Matmul", [part, inner], batch, 1000)
    scores.holding = Holding.LOGITS
    return make.graph(weights, a, make.made("Reduce", [scores], 1))


def test_one_profile_serves_every_batch_size_and_rank() -> None:
    profile = profile_of(adapter_graph(11, 13), 11, 13, on_cpu=False)
    for batch, rank in ((1, 1), (2, 64), (512, 3)):
        held = profile.highest(batch, rank)
        assert held[Holding.WEIGHTS] == 6400
        assert held[Holding.ADAPTERS] == 160 * rank
        assert held[Holding.LOGITS] == 4000 * batch
        assert sum(held.values()) == peak_of(adapter_graph(batch, rank))
    both = StepProfile.of([profile, profile])
    assert both.highest(2, 8) == profile.highest(2, 8)


def long_graph() -> StepGraph:
    make = GraphMaker()
    array = make.given(11, 100)
    for _ in range(60):
        array = make.made("Matmul", [array, array], 11, 100)
    return make.graph(array)


def test_without_a_limit_memory_is_freed_later() -> None:
    profile = profile_of(long_graph(), 11, 13, on_cpu=True)
    assert sum(profile.highest(1, 1).values()) == 400 * 6
    # 54 products of two dispatches, of which ten whole tasks are not waited for, and their ends.
    assert profile.peak_bytes(1, 1) == 400 * 56
    estimate = estimate_of(profile, LoraConfig(1, 1, 2, 64), "cpu")
    assert estimate.peak_bytes == 400 * 56
    on_gpu = profile_of(long_graph(), 11, 13, on_cpu=False)
    assert sum(on_gpu.highest(1, 1).values()) == 400 * 2
    assert on_gpu.peak_bytes(1, 1) is None


def test_a_size_that_grows_faster_than_squared_is_refused() -> None:
    make = GraphMaker()
    cube = make.made("Full", [], 11, 11, 11)
    with pytest.raises(ValueError, match="too high a power"):
        profile_of(make.graph(make.made("Reduce", [cube], 1)), 11, 13, on_cpu=False)


def test_the_estimate_of_a_profile_has_its_parts() -> None:
    profile = profile_of(adapter_graph(11, 13), 11, 13, on_cpu=False)
    estimate = estimate_of(profile, LoraConfig(4, 8, 2, 64), "cpu")
    assert estimate.weights_bytes == 6400
    assert estimate.adapters_bytes == 1280
    assert estimate.logits_bytes == 16000
    assert estimate.minimum_bytes == sum(profile.highest(4, 8).values())
    assert estimate.conservative_bytes > estimate.minimum_bytes
    full = LoraConfig(4, 8, 2, 64, fine_tune_type=FineTuneType.FULL)
    assert estimate_of(profile, full, "cpu").adapters_bytes == 0


def test_steps_of_one_kind_differ_in_batch_size_and_rank_alone() -> None:
    usual = LoraConfig(4, 8, 2, 64)
    assert step_kind(usual, 64) == step_kind(LoraConfig(1, 64, 2, 512), 64)
    assert step_kind(usual, 64) != step_kind(usual, 128)
    assert step_kind(usual, 64) != step_kind(LoraConfig(4, 8, 3, 64), 64)
    assert step_kind(LoraConfig(1, 1, 1, 8, dropout=0.1), 8) == step_kind(
        LoraConfig(1, 1, 1, 8, dropout=0.2), 8
    )


def test_a_constant_takes_no_memory() -> None:
    make = GraphMaker()
    one = Array((), 4, value=1.0)
    wide = make.made("Broadcast", [one], 10, 10)
    assert peak_of(make.graph(make.made("Add", [make.given(10, 10), wide], 10, 10))) == 400
