import json

import pytest

from keras_parts.errors import ConfigError
from keras_parts.training.hosts import Hosts, expand_node_list

SLURM = {
    "SLURM_PROCID": "3",
    "SLURM_JOB_ID": "100",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
}


def test_addresses_of_a_command_line():
    assert Hosts.parse("a:1, b:2", 1) == Hosts(("a:1", "b:2"), 1)


@pytest.mark.parametrize(
    "text, index, message",
    [
        ("a:1,b", 0, "'b' is not an address, expected HOST:PORT"),
        ("a:1,a:1", 0, "repeated"),
        ("a:1,b:1", 2, "index of this process is 2, expected 0 to 1"),
        ("a:1,b:1", None, "--host-index is missing"),
    ],
)
def test_wrong_addresses(text, index, message):
    with pytest.raises(ConfigError, match=message):
        Hosts.parse(text, index)


@pytest.mark.parametrize(
    "text, names",
    [
        ("a", ["a"]),
        ("a,b-1", ["a", "b-1"]),
        ("a[01-03,7],b", ["a01", "a02", "a03", "a7", "b"]),
        ("r[1-2]n[3,5].x", ["r1n3.x", "r1n5.x", "r2n3.x", "r2n5.x"]),
    ],
)
def test_host_names_in_a_slurm_node_list(text, names):
    assert expand_node_list(text) == names


def test_slurm_gives_each_task_an_address():
    hosts = Hosts.parse("auto", None, SLURM)
    names = [address.split(":")[0] for address in hosts.addresses]
    assert (names, hosts.index) == (["gpu07", "gpu07", "gpu08", "gpu08"], 3)


def test_tf_config_comes_before_slurm():
    config = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}
    variables = SLURM | {"TF_CONFIG": json.dumps(config)}
    assert Hosts.parse("auto", None, variables) == Hosts(("a:1", "b:1"), 1)


@pytest.mark.parametrize(
    "variables, message",
    [
        ({}, "neither TF_CONFIG nor SLURM's"),
        ({"TF_CONFIG": "{}"}, "TF_CONFIG cannot be read"),
        ({"SLURM_PROCID": "0"}, "SLURM's variables are incomplete"),
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2"}, "2 nodes .* numbers of tasks for 1"),
        (
            {"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}'},
            "expected 'worker'",
        ),
    ],
)
def test_missing_or_wrong_variables(variables, message):
    with pytest.raises(ConfigError, match=message):
        Hosts.parse("auto", None, variables)
