import json
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.errors import RecordingError
from pytest_yourai.report.page.render import read_sources

from support.profiles import DATA, later, quick


def written(path: Path, document: dict[str, Any]) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_files_keep_their_order_and_a_walk_gives_several(tmp_path: Path) -> None:
    new = written(tmp_path / "new.json", later(9, "1", 1))
    old = written(tmp_path / "old.json", later(1, "1", 1))
    found = read_sources([new, old, DATA / "h200_benchmark_24gb.json"])
    assert [each.name for each in found.profiles[:2]] == [str(new), str(old)]
    assert len(found.profiles) == 7
    assert found.left_out == []


def test_a_folder_is_a_history_and_names_what_is_not_a_profile(tmp_path: Path) -> None:
    written(tmp_path / "a.json", later(9, "1", 1))
    written(tmp_path / "b.json", later(1, "1", 1))
    undated = {key: value for key, value in quick().items() if key != "created_at"}
    written(tmp_path / "c.json", undated)
    written(tmp_path / "other.json", {"some": "thing"})
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "journal.jsonl").write_text("{}")
    found = read_sources([tmp_path])
    assert [Path(each.name).name for each in found.profiles] == ["c.json", "b.json", "a.json"]
    assert [each.name for each in found.left_out] == ["broken.json", "other.json"]
    assert "is not JSON" in found.left_out[0].why
    assert len(found.files) == 5


def test_a_folder_without_a_profile_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(
        RecordingError, match=f"{tmp_path} has no profile: name a folder with profiles"
    ):
        read_sources([tmp_path])


def test_a_file_that_is_not_a_profile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="cannot be read"):
        read_sources([tmp_path / "none.json"])
