"""Shared files: nothing private, and sealed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.digest import has_changed
from pytest_yourai.core.errors import RecordingError
from pytest_yourai.core.paths import packaged_models
from pytest_yourai.models.presets import read_presets
from pytest_yourai.store.profile_reader import profiles_in
from pytest_yourai.store.shared.bounds import bounds_of
from pytest_yourai.store.shared.checks import faults_of
from pytest_yourai.store.shared.sharing import shared_document

from support.profiles import document, quick, stored

PRESETS = read_presets(packaged_models())
PRIVATE = "/home/jane/secret host.example.org"


def shared_of(found: dict[str, Any]) -> dict[str, Any]:
    [profile] = profiles_in(found, "p.json")
    return shared_document(profile, PRESETS)


def with_private_texts() -> dict[str, Any]:
    """Something private in whatever text there may be, and in keys that nobody knows."""
    found = quick()
    found["settings"] |= {
        "recipe_file": PRIVATE,
        "bad_rows": PRIVATE,
        "matrix": PRIVATE,
        "resume_adapter_file": PRIVATE,
        "lr_schedule": {"name": PRIVATE},
        PRIVATE: PRIVATE,
    }
    found["environment"] |= {
        "chip": "AMD EPYC",
        "device": PRIVATE,
        "system": f"Linux-6.18.44-{PRIVATE}",
        "versions": {
            "python": "3.12.3+" + PRIVATE,
            "mlx": "0.32.4",
            "mlx-lm": "0.32.2",
            PRIVATE: "1",
        },
        "variables": {"OMP_NUM_THREADS": "4", "MLX_METAL_PATH": PRIVATE, PRIVATE: "1"},
    }
    found |= {"identity": PRIVATE, "confirmation": [], PRIVATE: PRIVATE}
    for row in found["all_results"]:
        row.update(warnings=[PRIVATE], error=PRIVATE)
        row[PRIVATE] = PRIVATE
    found["all_results"][-1].update(outcome="crashed", remedy=PRIVATE)
    return found


def test_nothing_private_is_shared() -> None:
    text = json.dumps(shared_of(with_private_texts()))
    for part in ("home", "jane", "secret", "example", "6.18.44-"):
        assert part not in text
    environment = json.loads(text)["environment"]
    assert environment["system"] == "Linux-6.18.44"
    assert environment["variables"] == {"OMP_NUM_THREADS": "4", "MLX_METAL_PATH": "other"}
    assert environment["versions"] == {"mlx": "0.32.4", "mlx-lm": "0.32.2"}
    assert (environment["chip"], environment["device"]) == ("AMD EPYC", None)


def test_the_name_of_an_own_matrix_is_not_shared() -> None:
    def shared_matrix(name: str) -> Any:
        found = document(lambda found: found["settings"].update(matrix=name))
        return shared_of(found)["settings"]["matrix"]

    assert shared_matrix("quick.yaml") == "quick.yaml"
    assert shared_matrix("acme-merger.yaml") is None


def test_raw_measurements_are_kept_and_sealed() -> None:
    before, shared = quick(), shared_of(quick())
    for key in ("step_times_s", "warmup_step_times_s", "step_tokens", "minimum_memory_bytes"):
        assert [row[key] for row in shared["all_results"]] == [
            row[key] for row in before["all_results"]
        ]
    assert shared["digest"].startswith("sha256:")
    assert not has_changed(shared)
    assert faults_of(shared, bounds_of) == []


def test_a_shared_file_is_read_as_a_profile() -> None:
    [profile] = profiles_in(shared_of(quick()), "shared.json")
    assert profile.headline is not None
    assert profile.headline.config == stored().headline.config  # type: ignore[union-attr]


def test_what_varies_is_in_the_rows_alone() -> None:
    shared = shared_of(document(lambda found: found["settings"].update(optimizer=["adam", "sgd"])))
    assert "optimizer" not in shared["settings"]
    assert shared["all_results"][0]["optimizer"] == "adam"


def test_a_repository_is_named() -> None:
    named = "mlx-community/Llama-3.2-1B"

    def change(found: dict[str, Any]) -> None:
        found["model"] = "Llama-3.2-1B"
        found["settings"]["model"] = named

    shared = shared_of(document(change))
    assert shared["settings"]["model"] == named
    # It is not here, so that nothing is known of its weights.
    assert faults_of(shared, bounds_of) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found["settings"].update(replay="x.json"), "settings.replay: a replay"),
        (lambda found: found["settings"].update(data="rows"), "settings.data: rows of your own"),
        (lambda found: found.update(data={"rows": 3}), "settings.data: rows of your own"),
        (lambda found: found["settings"].update(model="./mine"), "settings.model: nobody else"),
        (lambda found: found["settings"].update(presets_file="m.yaml"), "settings.model: nobody"),
        (lambda found: found.update(model="my-model"), "settings.model: nobody else has my-model"),
    ],
)
def test_what_is_of_no_use_to_others_is_refused(change: Any, message: str) -> None:
    with pytest.raises(RecordingError, match=rf"p\.json: {message}"):
        shared_of(document(change))


def test_full_precision_has_no_quantization() -> None:
    shared = shared_of(document(lambda found: found["settings"].update(quantization=None)))
    assert shared["settings"]["quantization"] is None


def test_the_file_has_no_paths(tmp_path: Path) -> None:
    texts = json.dumps(shared_of(quick()))
    assert "/" not in texts
