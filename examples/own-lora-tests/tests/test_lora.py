"""What must hold of each configuration that we train with."""

import pytest

from pytest_yourai import Trial


@pytest.mark.lora_limit("12 GB")
def test_fits_our_16_gb_macs(trial: Trial) -> None:
    assert trial.success


def test_is_fast_enough_to_train_over_night(trial: Trial) -> None:
    tokens_of_an_epoch, seconds_of_a_night = 20_000, 8 * 3600
    assert tokens_of_an_epoch / trial.tokens_per_second < seconds_of_a_night


def test_trains_with_the_adapters_that_we_serve(trial: Trial) -> None:
    assert trial.config.rank <= 16, "our server loads adapters of rank 16 at most"
