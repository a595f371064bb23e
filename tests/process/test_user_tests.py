"""Users' own tests on the `trial` fixture."""

from __future__ import annotations

import re

import pytest

from support.processes import SweepRun


def test_a_test_on_the_trial_is_parametrized_and_measured(
    pytester: pytest.Pytester, sweep: SweepRun
) -> None:
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    pytester.makepyfile(
        test_mine="""
        def test_budget(trial):
            assert trial.success and trial.outcome == "ok"
            assert 0 < trial.minimum_memory_gb < trial.peak_memory_gb * 1.01
            assert trial.safe_memory_gb <= trial.memory_limit_gb
            assert trial.step_time_s > 0 and trial.tokens_per_second > 0
            assert trial.throughput_score == trial.config.batch_size * 4 * 2

        def test_small(trial):
            assert trial.config.batch_size < 4, "too large"
        """
    )
    done = sweep("test_mine.py")
    done.run.assert_outcomes(passed=5, failed=1)
    assert done.ret == 1
    assert done.outcomes == ["ok"] * 3, "each configuration is measured once"
    assert len(done.events("trial_start")) == 3
    assert "too large" in done.text


def test_a_trial_that_does_not_fit_is_xfailed_before_the_body(
    pytester: pytest.Pytester, replayed: SweepRun
) -> None:
    pytester.makepyfile(test_mine="def test_body(trial): assert False, 'reached'")
    done = replayed("test_mine.py", "--yourai-max-memory", "0.001", "--yourai-force")
    assert "reached" not in done.text
    done.run.assert_outcomes(xfailed=1, skipped=2)


def test_a_users_own_xfail_is_one(pytester: pytest.Pytester, replayed: SweepRun) -> None:
    pytester.makepyfile(
        test_mine="""
        import pytest

        @pytest.mark.xfail
        def test_large(trial):
            assert trial.peak_memory_gb > 20
        """
    )
    done = replayed("test_mine.py", "-rs", "-k", "batch1")
    done.run.assert_outcomes(xfailed=1)
    assert done.ret == 0


def test_a_trial_taken_in_another_way_says_how_to_take_it(
    pytester: pytest.Pytester, replayed: SweepRun
) -> None:
    pytester.makepyfile(test_mine="def test_mine(request): request.getfixturevalue('trial')")
    done = replayed("test_mine.py")
    assert "take `trial` as an argument of a test function" in done.text


def test_without_a_model_the_fixture_skips(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_mine(trial): assert False")
    done = pytester.runpytest_inprocess("-rs")
    done.assert_outcomes(skipped=1)
    done.stdout.fnmatch_lines(["*name a model with --yourai-model*"])


def test_reading_a_trial_in_a_fixture_says_where_to_read_it(
    pytester: pytest.Pytester, replayed: SweepRun
) -> None:
    pytester.makepyfile(
        test_mine="""
        import pytest

        @pytest.fixture
        def early(trial):
            return trial.peak_memory_gb

        def test_mine(early): pass
        """
    )
    done = replayed("test_mine.py", "-k", "batch1")
    done.run.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*the trial is measured when the test is called*"])


def test_a_limit_fails_with_what_is_needed_and_what_would_fit(
    pytester: pytest.Pytester, replayed: SweepRun
) -> None:
    pytester.makepyfile(
        test_mine="""
        import pytest

        @pytest.mark.lora_limit("5 MB")
        def test_it_is_lean(trial):
            assert trial.minimum_memory_gb <= 0.005

        @pytest.mark.lora_limit("1GB")
        def test_it_is_not_huge(trial):
            pass
        """
    )
    done = replayed("test_mine.py")
    done.run.assert_outcomes(passed=5, failed=1)
    assert done.ret == 1
    assert done.outcomes == ["ok"] * 3
    done.stdout.fnmatch_lines(
        [
            "*tiny, batch=4, rank=4, layers=2: needs * MB, over the limit of 5.0 MB; what *",
        ]
    )
    assert re.search(r"by estimate: .*batch 2 with accumulation 2 \(needs [\d.]+ MB\)", done.text)


@pytest.mark.parametrize(
    ("mark", "argument", "message"),
    [
        ("'20'", "trial", "lora_limit('20') of test_mine: it takes one size, such as '20 GB' or"),
        ("20", "trial", "lora_limit(20) of test_mine: it takes one size"),
        ("", "trial", "lora_limit() of test_mine: it takes one size"),
        ("gb=20", "trial", "lora_limit(gb=…) of test_mine: it takes one size"),
        ("'20 GB'", "tmp_path", "take `trial` as an argument"),
    ],
)
def test_a_mark_that_cannot_be_checked_is_told_before_anything_is_measured(
    mark: str, argument: str, message: str, pytester: pytest.Pytester, replayed: SweepRun
) -> None:
    pytester.makepyfile(
        test_mine=f"""
        import pytest

        @pytest.mark.lora_limit({mark})
        def test_mine({argument}):
            pass
        """
    )
    done = replayed("test_mine.py")
    assert message in done.text
    assert "During handling" not in done.text
    assert not (pytester.path / "benchmark_log.jsonl").exists()
