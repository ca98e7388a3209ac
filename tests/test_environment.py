"""Environment variables are read with their default values and checked."""

import pytest

from keras_parts import environment
from keras_parts.errors import ConfigError


def test_the_maximum_size_of_features(monkeypatch):
    monkeypatch.delenv(environment.FEATURES_VARIABLE, raising=False)
    assert environment.max_feature_bytes() == 100 * 2**30
    monkeypatch.setenv(environment.FEATURES_VARIABLE, "0.5")
    assert environment.max_feature_bytes() == 2**29


@pytest.mark.parametrize("value", ["many", "-1", "nan", "inf"])
def test_a_wrong_maximum_size_of_features(monkeypatch, value):
    monkeypatch.setenv(environment.FEATURES_VARIABLE, value)
    with pytest.raises(ConfigError, match=f"FEATURES_GIB is '{value}', expected a number of GiB"):
        environment.max_feature_bytes()


def test_the_time_for_a_download(monkeypatch):
    monkeypatch.delenv(environment.DOWNLOAD_VARIABLE, raising=False)
    assert environment.max_download_seconds() == 3600
    monkeypatch.setenv(environment.DOWNLOAD_VARIABLE, "nan")
    with pytest.raises(ConfigError, match="DOWNLOAD_SECONDS is 'nan', expected a number of sec"):
        environment.max_download_seconds()
