"""run.log: the messages of a training, beside its results."""

import logging

import pytest

from keras_parts.errors import DataError
from keras_parts.training.run_folder import RunFolder


def test_messages_of_the_package_are_kept_with_the_run(tmp_path):
    run, logger = RunFolder.create(tmp_path / "run"), logging.getLogger("keras_parts.data")
    with run.logged():
        logger.warning("look at https://me:hunter2@host/a\nand there")
    with pytest.raises(DataError), run.logged():
        raise DataError("a.png: damaged")
    logger.warning("afterwards")
    first, message, end, again, stopped = run.log_file.read_text().splitlines()
    assert first.endswith("begins") and again.endswith("begins") and end.endswith("INFO ends")
    assert message.endswith("WARNING look at https://***@host/a\\nand there")
    assert stopped.endswith("ERROR stopped: DataError: a.png: damaged")


def test_a_run_that_never_made_a_step_leaves_no_log(tmp_path):
    run = RunFolder.create(tmp_path / "run")
    with pytest.raises(DataError), run.removed_if_empty(), run.logged():
        raise DataError("a.png: damaged")
    assert not run.path.exists()
