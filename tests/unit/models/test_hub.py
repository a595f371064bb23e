"""The local cache as huggingface_hub keeps it, and downloads from a hub on this machine."""

import errno
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants, scan_cache_dir
from mlx_lm.utils import DEFAULT_ALLOW_PATTERNS

from pytest_yourai.core.errors import UnavailableError
from pytest_yourai.models import hub
from pytest_yourai.models.presets import read_presets
from pytest_yourai.models.resolve import resolve

from support.hub import Hub, bare_model, cached, serve, use_endpoint

LLAMA = {"model_type": "llama", "num_hidden_layers": 2}

REPO = "owner/name"

BIG = "model-00001-of-00002.safetensors"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with a model of two shards, of which the first has 300 kB."""
    folder = bare_model(tmp_path / "served", LLAMA, shards=2)
    (folder / BIG).write_bytes(os.urandom(300_000))
    (folder / "pytorch_model.bin").write_bytes(b"pickled")
    with serve(REPO, folder, monkeypatch) as served:
        yield served


def refusal(repo: str = REPO) -> str:
    with pytest.raises(UnavailableError) as caught:
        hub.download(repo, lambda _: None)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_the_made_cache_is_one_to_huggingface_hub(tmp_path: Path, hub_cache: Path) -> None:
    cached(bare_model(tmp_path / "m", LLAMA, shards=2), REPO, hub_cache)
    report = scan_cache_dir(hub_cache)
    assert not report.warnings
    (repo,) = report.repos
    (revision,) = repo.revisions
    assert (repo.repo_id, set(revision.refs), revision.nb_files) == (REPO, {"main"}, 4)


def test_the_files_are_those_that_mlx_lm_downloads() -> None:
    assert list(hub.DOWNLOADED) == DEFAULT_ALLOW_PATTERNS


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("owner/name", True),
        ("mlx-community/Llama-3.2-1B-Instruct-4bit", True),
        ("name", False),
        ("./name", False),
        ("../name", False),
        ("~/name", False),
        ("/name", False),
        ("name/", False),
        ("a/b/c", False),
        ("owner/na me", False),
    ],
)
def test_the_form_of_a_repository(name: str, expected: bool) -> None:
    assert hub.is_repo_id(name) is expected


def test_a_cache_that_is_not_there_has_nothing(hub_cache: Path) -> None:
    hub_cache.rmdir()
    assert hub.cached_snapshot(REPO) is None


@pytest.mark.parametrize("repo", [REPO, "owner/na--me"])
def test_what_is_not_cached_is_none(repo: str) -> None:
    assert hub.cached_snapshot(repo) is None


def test_a_download_has_what_mlx_lm_needs_and_is_found_again(server: Hub, hub_cache: Path) -> None:
    said: list[str] = []
    folder = hub.download(REPO, said.append)
    assert said == [f"Downloading owner/name: 300.2 kB to {hub_cache}"]
    assert sorted(file.name for file in folder.iterdir()) == [
        "config.json",
        BIG,
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ]
    assert (folder / BIG).read_bytes() == (server.folder / BIG).read_bytes()
    assert hub.cached_snapshot(REPO) == hub.Snapshot(folder, None)


def test_config_json_is_fetched_alone(server: Hub, tmp_path: Path) -> None:
    model = resolve(REPO, tmp_path / "nowhere", "hub", {})
    assert (model.weights, model.depth, model.folder) == ("hub", 2, None)
    asked = {each.path.rpartition("/")[2] for each in server.requests if "/resolve/" in each.path}
    assert asked == {"config.json"}
    snapshot = hub.cached_snapshot(REPO)
    assert snapshot is not None
    assert snapshot.missing == "model*.safetensors"


def test_a_fetched_model_is_what_the_hub_has(server: Hub, tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text(
        f"mine: {{repo: {REPO}, architecture: {{model_type: llama, num_hidden_layers: 7}}}}\n"
    )
    expected = resolve("mine", tmp_path / "x", "hub", read_presets(tmp_path / "models.yaml"))
    assert (expected.weights, expected.depth, server.requests) == ("hub", 7, [])
    fetched = expected.downloaded(lambda _: None)
    assert (fetched.weights, fetched.depth, fetched.name) == ("local", 2, "mine")
    assert fetched.folder is not None
    assert (fetched.folder / BIG).is_file()


def test_a_broken_connection_is_resumed_where_it_broke(
    server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    # huggingface_hub writes, and goes on from, whole chunks: of 10 MB if nothing is set.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 50_000)
    server.break_after = 200_000
    folder = hub.download(REPO, lambda _: None)
    assert [each.range for each in server.gets(BIG)] == [None, "bytes=200000-"]
    assert (folder / BIG).read_bytes() == (server.folder / BIG).read_bytes()


def test_after_an_interruption_the_next_download_fetches_the_rest(server: Hub) -> None:
    server.break_after, server.breaks_by = 200_000, "reset"
    text = refusal()
    assert text.startswith(f"{server.endpoint}/{REPO} cannot be downloaded: the connection broke: ")
    assert "run it again" in text
    snapshot = hub.cached_snapshot(REPO)
    assert snapshot is not None
    assert snapshot.missing is not None
    before = len(server.gets("config.json"))
    folder = hub.download(REPO, lambda _: None)
    assert len(server.gets("config.json")) == before, "what is complete is kept"
    assert (folder / BIG).read_bytes() == (server.folder / BIG).read_bytes()


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_model_names_its_page_and_how_to_log_in(server: Hub, status: int) -> None:
    server.gated_status = 401 if status == 401 else 403
    text = refusal()
    assert f"{server.endpoint}/{REPO} cannot be downloaded: the model is gated: accept" in text
    assert "hf auth login" in text


def test_a_missing_model_is_not_called_gated(server: Hub) -> None:
    assert "owner/other cannot be downloaded: the model is not there: check" in refusal(
        "owner/other"
    )


def test_offline_and_without_a_route(monkeypatch: pytest.MonkeyPatch) -> None:
    use_endpoint("http://127.0.0.1:9", monkeypatch)
    assert "the network is not there: connect" in refusal()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refusal()
    with pytest.raises(UnavailableError, match="the network is not there"):
        hub.fetch_config(REPO)


def test_a_hub_that_never_answers_is_not_waited_for(
    server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.05)
    server.answers.clear()
    assert "the hub does not answer: run it again when it does" in refusal()
    with pytest.raises(UnavailableError, match="the hub does not answer"):
        hub.fetch_config(REPO)


def test_ctrl_c_ends_a_download_at_once(server: Hub) -> None:
    interrupt = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))

    def stall(_: str) -> None:
        server.sends.clear()
        interrupt.start()

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        hub.download(REPO, stall)
    assert time.monotonic() < began + 60


def test_small_files_come_first(server: Hub) -> None:
    hub.download(REPO, lambda _: None)
    got = [each.path.rpartition("/")[2] for each in server.requests if each.method == "GET"]
    assert got[-1] == BIG


def test_a_cache_that_is_not_a_folder_has_nothing_and_takes_nothing(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(file))
    assert hub.cached_snapshot(REPO) is None
    assert f"{file}/models--owner--name: Not a directory: make it a folder" in refusal()


def test_the_room_on_the_disk_is_looked_at_first(server: Hub, hub_cache: Path) -> None:
    server.sizes[BIG] = 10**16
    text = refusal()
    assert text.startswith("owner/name needs 10,000,000.0 GB, and ")
    assert f" are free at {hub_cache}: make room there, or set HF_HOME" in text
    assert not server.gets(BIG)


def test_a_disk_that_fills_up_is_reported_as_that(hub_cache: Path) -> None:
    problem = RuntimeError("a thread failed")
    problem.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert f"the disk is full: make room at {hub_cache}" in str(hub._unavailable(REPO, problem))


def test_pickled_weights_are_not_taken(server: Hub) -> None:
    for shard in server.folder.glob("*.safetensors*"):
        shard.unlink()
    assert f"{server.endpoint}/{REPO} has no model*.safetensors" in refusal()
    assert not server.gets("pytorch_model.bin")


def test_a_repository_that_lacks_a_shard_is_refused(server: Hub) -> None:
    (server.folder / "model-00002-of-00002.safetensors").unlink()
    assert f"{server.endpoint}/{REPO} has no model-00002-of-00002.safetensors" in refusal()


def test_no_secret_is_in_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    use_endpoint("http://someone:hunter2secret@127.0.0.1:9", monkeypatch)
    assert "hunter2secret" not in refusal()


@pytest.mark.parametrize("name", ["\x1b]0;title\x07", "::error::x", "\u202e"])
def test_names_that_command_a_terminal_are_refused_before_they_are_printed(
    server: Hub, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    (server.folder / f"model{name}.safetensors").touch()
    assert "is not safe to print: name another model" in refusal()
    printed = capfd.readouterr()
    assert name not in printed.out + printed.err
