"""Videos: frames in, an overlaid video and a table out."""

import csv
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from keras_parts.cli import main
from keras_parts.errors import ConfigError, DataError
from keras_parts.images.video import _upright, open_video, step_for, video_writer
from keras_parts.inference import segment_video
from keras_parts.models.predictor import Predictor

FRAMES = 7


@pytest.fixture
def av():
    return pytest.importorskip("av")


@pytest.fixture
def clip(av, tmp_path):
    """A bright square on black, which moves to the right, 25 frames a second."""
    path = tmp_path / "clip.mp4"
    with video_writer(path, Fraction(25)) as write:
        for number in range(FRAMES):
            frame = np.zeros((48, 64, 3), np.uint8)
            frame[16:32, 8 + 4 * number : 24 + 4 * number] = 220
            write(frame, number / 25)
    return path


def predictor():
    """One part, "bright", where the picture is bright."""

    def forward(images):
        grey = images[..., :1].astype(np.float32) / 255
        return {"logits": np.concatenate([0.5 - grey, grey - 0.5], axis=-1)}

    return Predictor(forward, ("bright",), 65, aligned_corners=False, looks=1, batch_size=4)


def read(path):
    with open_video(path) as video:
        return list(video.frames())


def test_a_video_and_a_table_are_written(clip, tmp_path):
    summary = segment_video(predictor(), clip, tmp_path / "out", progress=False)
    assert (summary.frames, summary.every) == (FRAMES, 1)
    frames = read(summary.overlay)
    assert [round(frame.time * 25) for frame in frames] == list(range(FRAMES))
    assert frames[0].pixels.shape[0] > 48  # with a legend
    rows = list(csv.DictReader(open(summary.table)))
    assert [int(row["frame"]) for row in rows] == list(range(FRAMES))
    for number, row in enumerate(rows):
        assert (row["part"], row["name"]) == ("1", "bright")
        assert float(row["share"]) == pytest.approx(256 / (48 * 64), rel=0.2)
        assert float(row["x"]) == pytest.approx(15.5 + 4 * number, abs=1.5)
        assert float(row["time"]) == pytest.approx(number / 25, abs=1e-3)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "overlay.mp4",
        "parts.csv",
    ]


def test_every_other_frame_keeps_its_time(clip, tmp_path):
    summary = segment_video(predictor(), clip, tmp_path / "out", fps=12.5, progress=False)
    assert (summary.frames, summary.every) == (4, 2)
    assert [round(frame.time * 25) for frame in read(summary.overlay)] == [0, 2, 4, 6]


def test_results_are_not_replaced_unasked(clip, tmp_path):
    left = tmp_path / ".0123456789ab.overlay.mp4"  # by a run that was killed
    left.write_bytes(b"half")
    segment_video(predictor(), clip, tmp_path, every=4, progress=False)
    assert not left.exists()
    with pytest.raises(ConfigError, match="overlay.mp4 exists: replace it .--overwrite"):
        segment_video(predictor(), clip, tmp_path, progress=False)
    summary = segment_video(predictor(), clip, tmp_path, overwrite=True, progress=False)
    assert summary.frames == FRAMES


def test_a_run_that_stops_leaves_no_half_video(clip, tmp_path):
    stopped = predictor()
    stopped.batch_size, found = 1, stopped.segment_all

    def fail(images):
        if images[0][20, 30].mean() > 100:  # the square has come there
            raise KeyboardInterrupt
        return found(images)

    stopped.segment_all = fail
    with pytest.raises(KeyboardInterrupt):
        segment_video(stopped, clip, tmp_path / "out", progress=False)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot be read as a video"),
        (b"junk" * 999, "cannot be read as a video: Invalid data"),
    ],
)
def test_files_that_are_no_videos(av, tmp_path, content, reason):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"clip.mp4: {reason}"):
        segment_video(predictor(), path, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_playlists_open_no_other_files(clip, tmp_path):
    path = tmp_path / "list.mp4"
    path.write_text(f"#EXTM3U\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n")
    with pytest.raises(DataError, match="cannot be read as a video"):
        read(path)


def test_a_video_without_frames_or_pictures(av, clip, tmp_path):
    content = clip.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(content[: content.index(b"mdat") + 4])
    with pytest.raises(DataError, match="cut.mp4: "):
        read(cut)
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(DataError, match="has no pictures, only sound"):
        read(tmp_path / "sound.mp4")


def test_frames_of_phones_are_turned_upright():
    stored = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    for degrees, expected in ((0, stored), (90, np.rot90(stored)), (-90, np.rot90(stored, -1))):
        frame = SimpleNamespace(to_ndarray=lambda format: stored, rotation=degrees)
        np.testing.assert_array_equal(_upright(frame), expected)


@pytest.mark.parametrize(
    ("options", "step"),
    [({}, 1), ({"every": 3}, 3), ({"fps": 10.0}, 3), ({"fps": 60.0}, 1), ({"fps": 0.5}, 60)],
)
def test_frames_between(options, step):
    assert step_for(SimpleNamespace(rate=Fraction(30)), **options) == step


@pytest.mark.parametrize("options", [{"every": 0}, {"fps": 0.0}, {"every": 2, "fps": 5.0}])
def test_wrong_frames_between(options):
    with pytest.raises(ConfigError):
        step_for(SimpleNamespace(rate=Fraction(30)), **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("clip.mp4", "photos/"), "give videos and pictures in two commands"),
        (("photos/", "--fps", "5"), "--fps is for videos"),
        (("clip.mp4", "--shard", "1/2"), "--shard is for pictures, but clip.mp4 is a video"),
    ],
)
def test_options_of_the_command(arguments, message):
    result = CliRunner().invoke(main, ["segment", *arguments])
    assert result.exit_code == 2 and message in result.stderr
