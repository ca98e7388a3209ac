"""Experiment trackers, replaced by ones that write down what they get."""

import json
import sys
import types

import pytest
from PIL import Image

from keras_parts.environment import OFFLINE_VARIABLE
from keras_parts.errors import ConfigError, DataError
from keras_parts.training.run_folder import RunFolder
from keras_parts.training.tracking import TRACKERS, Tracker, check_trackers, tracked


@pytest.fixture
def run(tmp_path):
    return RunFolder.create(tmp_path / "run")


@pytest.fixture
def written(monkeypatch):
    """What a tracker called "noted" got; `written.fails` makes it fail."""
    calls = types.SimpleNamespace(all=[], fails=False)

    class Noted(Tracker):
        title, module = "Noted", "json"

        def __init__(self, folder, settings, previous):
            self.id, self.shown_at = previous or "first", "there"
            calls.all.append(("begin", previous, settings))

        def log(self, step, values):
            if calls.fails:
                raise OSError("no connection")
            calls.all.append(("log", step, values))

        def picture(self, step, file):
            calls.all.append(("picture", step, file.name))

        def finish(self, failed):
            calls.all.append(("finish", failed))

    monkeypatch.setitem(TRACKERS, "noted", Noted)
    return calls


def picture(run, step):
    Image.new("RGB", (4, 2), "red").save(run.sheet_file(step))


def test_each_line_and_sheet_is_sent_once_also_by_resumed_runs(run, written):
    settings = {"num_parts": 3, "loss_weights": {"balance": 0.5}}
    with tracked(["noted", "noted"], run, settings) as trackers:
        assert trackers.shown_at == {"noted": "there"}
        run.log({"step": 1, "epoch": 0, "loss": 2.0, "never": None})
        picture(run, 1)
        trackers.update()
        run.log({"step": 2, "epoch": 1, "loss": 1.0})
        trackers.update()
    with pytest.raises(KeyboardInterrupt), tracked(["noted"], run, settings) as trackers:
        run.log({"step": 3, "epoch": 2, "loss": 0.5})
        trackers.update()
        raise KeyboardInterrupt
    flat = {"num_parts": 3, "loss_weights.balance": 0.5}
    assert written.all == [
        ("begin", None, flat),
        ("log", 1, {"loss": 2.0}),
        ("picture", 1, "step-00000001.png"),
        ("log", 2, {"loss": 1.0}),
        ("finish", False),
        ("begin", "first", flat),
        ("log", 3, {"loss": 0.5}),
        ("finish", True),
    ]


def test_a_tracker_that_fails_ends_no_training_and_gets_the_rest_later(run, written, caplog):
    written.fails = True
    with tracked(["noted"], run, {}) as trackers:
        for step in (1, 2):
            run.log({"step": step, "loss": 1.0})
            trackers.update()
    assert caplog.text.count("Noted failed and gets nothing more: OSError: no connection.") == 1
    assert "--track noted" in caplog.text
    written.fails = False
    with tracked(["noted"], run, {}):
        pass
    assert [call[:2] for call in written.all if call[0] == "log"] == [("log", 1), ("log", 2)]


def test_what_cannot_be_used_is_said_before_anything_is_computed(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"package wandb: pip install 'keras-parts\[wandb\]'"):
        check_trackers(["wandb"])
    with pytest.raises(ConfigError, match="'mlfow': choose from .*; did you mean 'mlflow'"):
        check_trackers(["mlfow"])

    def login():
        raise RuntimeError("No API key configured. Use `wandb login`.")

    settings = types.SimpleNamespace(mode="online")
    fake = types.SimpleNamespace(
        run=None, login=login, setup=lambda: types.SimpleNamespace(settings=settings)
    )
    monkeypatch.setitem(sys.modules, "wandb", fake)
    with pytest.raises(ConfigError, match="W&B cannot be used: .*API key.*leave out --track wandb"):
        check_trackers(["wandb"])
    monkeypatch.setenv(OFFLINE_VARIABLE, "1")
    check_trackers(["wandb"])
    fake = types.SimpleNamespace(get_tracking_uri=lambda: "https://mlflow.example.org")
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    with pytest.raises(ConfigError, match=f"not requested, because {OFFLINE_VARIABLE} is set"):
        check_trackers(["mlflow"])


def test_a_damaged_list_of_trackers(run):
    run.tracking.mkdir()
    for text in ("{", "[]", '{"wandb": {"id": 1}}'):
        run.tracking_file.write_text(text)
        with pytest.raises(DataError, match="trackers.json is damaged: remove it"):
            with tracked(["wandb"], run, {}):
                pass


class FakeWandb:
    """W&B, as far as it is used."""

    def __init__(self, run=None):
        self.run, self.calls = run, []
        self.Image = lambda path: f"image {path[-12:]}"

    def setup(self):
        return types.SimpleNamespace(settings=types.SimpleNamespace(project=None))

    def init(self, **options):
        self.calls.append(options)
        return self.new_run()

    def new_run(self):
        return types.SimpleNamespace(
            id="abc",
            url="https://wandb.example.org/abc",
            config=types.SimpleNamespace(update=lambda *a, **_: self.calls.append(("config", *a))),
            define_metric=lambda *_, **__: None,
            log=self.calls.append,
            finish=lambda exit_code: self.calls.append(("finish", exit_code)),
        )


def test_wandb(run, monkeypatch):
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    with tracked(["wandb"], run, {"num_parts": 3}) as trackers:
        run.log({"step": 5, "loss": 1.0})
        picture(run, 5)
        trackers.update()
    options, *others = fake.calls
    assert (options["project"], options["name"], options["id"]) == ("keras-parts", "run", None)
    assert options["dir"] == str(run.tracking) and run.tracking.is_dir()
    assert others == [
        ("config", {"num_parts": 3}),
        {"loss": 1.0, "step": 5},
        {"parts": "image 00000005.png", "step": 5},
        ("finish", 0),
    ]
    assert json.loads(run.tracking_file.read_text()) == {"wandb": {"id": "abc", "step": 5}}
    fake.calls.clear()
    with tracked(["wandb"], run, {}):
        assert fake.calls[0]["id"] == "abc"


def test_an_active_run_of_the_user_is_used_and_not_ended(run, monkeypatch):
    fake = FakeWandb()
    fake.run = fake.new_run()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    calls = []
    active = types.SimpleNamespace(info=types.SimpleNamespace(run_id="7"))
    monkeypatch.setitem(
        sys.modules,
        "mlflow",
        types.SimpleNamespace(
            active_run=lambda: active,
            get_tracking_uri=lambda: "sqlite:///mlflow.db",
            log_params=lambda params: calls.append(params),
            log_metrics=lambda values, step, run_id: calls.append((values, step, run_id)),
            log_artifact=lambda path, folder, run_id: calls.append((folder, run_id)),
        ),
    )
    with tracked(["wandb", "mlflow"], run, {"num_parts": 3}) as trackers:
        run.log({"step": 5, "loss": 1.0})
        picture(run, 5)
        trackers.update()
    assert ("finish", 0) not in fake.calls and fake.calls[1] == {"loss": 1.0, "step": 5}
    assert calls == [{"num_parts": "3"}, ({"loss": 1.0}, 5, "7"), ("samples", "7")]


def test_tensorboard_files(run):
    pytest.importorskip("tensorboardX")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with tracked(["tensorboard"], run, {"num_parts": 3, "teacher_layers": ("a",)}) as trackers:
        run.log({"step": 5, "epoch": 0, "loss": 1.0, "learning_rate": 0.1})
        picture(run, 5)
        trackers.update()
    with tracked(["tensorboard"], run, {}) as trackers:
        run.log({"step": 10, "epoch": 1, "loss": 0.5})
        trackers.update()
    events = EventAccumulator(str(run.tensorboard)).Reload()
    assert [(one.step, one.value) for one in events.Scalars("loss")] == [(5, 1.0), (10, 0.5)]
    assert [one.step for one in events.Images("parts")] == [5]
    settings = events.Tensors("settings/text_summary")[0].tensor_proto.string_val[0]
    assert b"| num_parts | 3 |" in settings
