"""Tokens reach no file and no report; nothing that a model brings is run unasked."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support.faults import Judge
from support.models import TINY, make_data, make_model
from support.processes import SweepRun

TOKEN = "hf_thisIsNobodysToken0123456789"  # noqa: S105 - made up
PASSWORD = 'correct "hörse" b\\ttery'  # noqa: S105 - made up
UNKNOWN = "hf_" + "x" * 30


def test_tokens_reach_no_file_and_no_report_and_digits_break_no_number(
    pytester: pytest.Pytester,
    sweep: SweepRun,
    faulty_worker: Callable[[str], None],
    judge: Judge,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("NETRC_PWD", PASSWORD)
    monkeypatch.setenv("DATABASE_URL", "postgres://me:p@ss-w0rd-two@db/x")
    monkeypatch.setenv("FOO_PASSWORD", "00000000")
    faulty_worker("tell_secrets@warmup")
    outputs = ("markdown=m.md", "report=p.html", "lora-config=c.yaml")
    done = sweep(
        "--junit-xml=junit.xml",
        "--benchmark-json=benchmark.json",
        "-rA",
        "--yourai-max-memory=20",
        *(f"--yourai-{each}" for each in outputs),
        subprocess=True,
    )
    judge("worker prints and raises its token", done, ["ok", "error", "ok"])
    assert "my token is [HF_TOKEN]" in done.text
    assert "[NETRC_PWD]" in done.text
    forms = (TOKEN, UNKNOWN, "hörse", "h\\xf6rse", "h\\u00f6rse", "h%C3%B6rse", "ss-w0rd-two")
    encoded = base64.b64encode(f"me:{PASSWORD}".encode()).decode()[6:-4]
    texts = {path: path.read_text() for path in pytester.path.rglob("*") if path.is_file()}
    assert {"m.md", "p.html", "c.yaml", "benchmark.json"} <= {path.name for path in texts}
    for secret in (*forms, encoded):
        assert secret not in done.text + done.errors
        for path, text in texts.items():
            assert secret not in text, path
    assert done.profile["memory_limit_gb"] == 20.0


@pytest.mark.real_engine
def test_tokens_in_what_was_asked_for_reach_no_file_either(
    pytester: pytest.Pytester, sweep: SweepRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    make_model(pytester.path / f"model-{TOKEN}")
    make_data(pytester.path / f"data-{TOKEN}", rows=8)
    (pytester.path / f"{TOKEN}.yaml").write_text(
        "batch_size: [1]\nlora_rank: [4]\nlora_layers: [2]\n"
    )
    done = sweep(
        f"--yourai-data=data-{TOKEN}",
        "--junit-xml=junit.xml",
        model=f"./model-{TOKEN}",
        matrix=f"{TOKEN}.yaml",
        subprocess=True,
    )
    assert done.outcomes == ["ok"]
    for name in ("optimal_config.json", "benchmark_log.jsonl", "junit.xml"):
        assert TOKEN not in (pytester.path / name).read_text(), name
    assert TOKEN not in done.text


OWN_CODE = """
from pathlib import Path
from mlx_lm.models.llama import Model, ModelArgs
(Path(__file__).parent / "was-run").touch()
"""


@pytest.fixture
def model_with_code(tmp_path: Path) -> Path:
    folder = make_model(tmp_path / "own", {**TINY, "model_file": "own.py"})
    (folder / "own.py").write_text(OWN_CODE)
    return folder


@pytest.mark.real_engine
def test_code_of_a_model_is_run_with_the_flag_alone(sweep: SweepRun, model_with_code: Path) -> None:
    refused = sweep("-k", "batch1", model=str(model_with_code))
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    assert "config.json: model_file: the model brings Python code of its own" in refused.errors
    assert not (model_with_code / "was-run").exists()
    trusted = sweep("-k", "batch1", "--yourai-trust-remote-code", model=str(model_with_code))
    assert trusted.outcomes == ["ok"]
    assert (model_with_code / "was-run").exists()


def test_yaml_makes_no_objects(pytester: pytest.Pytester, sweep: SweepRun) -> None:
    (pytester.path / "evil.yaml").write_text(
        "batch_size: !!python/object/apply:os.system ['touch was-run']\n"
    )
    done = sweep(matrix="evil.yaml")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert "evil.yaml:1" in done.errors
    assert not (pytester.path / "was-run").exists()


@pytest.mark.real_engine
def test_a_pickle_named_like_weights_is_not_loaded(sweep: SweepRun, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(TINY))
    # A pickle that would make a file.
    pickled = b"cos\nsystem\n(S'touch " + str(folder / "was-run").encode() + b"'\ntR."
    (folder / "model.safetensors").write_bytes(pickled)
    (folder / "pytorch_model.bin").write_bytes(pickled)
    done = sweep(model=str(folder))
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert not (folder / "was-run").exists()
