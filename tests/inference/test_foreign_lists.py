"""Lists, manifests and addresses that somebody else wrote: a bad row fails alone, and no name leads
out of the output folder."""

import contextlib
import csv
import io
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from keras_parts.errors import ConfigError, DataError, KerasPartsError
from keras_parts.inference import find_images, segment_files
from keras_parts.inference.manifests import manifest_rows
from tests.inference.doubles import contents, predictor

FORMATS = ["indexed", "csv", "label-studio"]
GOOD = [f"{number}.png" for number in range(5)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for name in GOOD:
        Image.new("RGB", (9, 9), (200, 9, 9)).save(tmp_path / "in" / name)
    return tmp_path


def segment(inputs, output="out", formats=FORMATS, **options):
    return segment_files(predictor(), [inputs], output, formats, **options)


BAD_ROWS = {
    "a NUL": "a\0b.png,x",
    "no path": ",x",
    "too few columns": "\t",
    "an open quote": '"a.png,x',
    "a quote inside": '"a"b".png,x',
    "a huge cell": "a" * 200_000 + ",x",
    "a long path": "a" * 40_000 + ",x",
    "a device": "/dev/zero,x",
    "a chain": "simplecache::s3://bucket/a.png,x",
    "a template": "reference://a.png,x",
    "dots": "s3://bucket/../../a.png,x",
}


@pytest.mark.parametrize("bad", BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_bad_row_fails_alone(folder, bad):
    rows = [f"{name},x" for name in GOOD]
    (folder / "in/m.csv").write_text("\n".join(["image,label", *rows[:2], bad, *rows[2:], ""]))
    for done, kept in ((5, 0), (0, 5)):
        summary = segment("in/m.csv")
        assert (summary.done, summary.kept, summary.failed) == (done, kept, 1)
    (line,) = (folder / "out/failures.jsonl").read_text().splitlines()
    assert len(line) < 70_000 and ("m.csv line 4" in line or "/dev/zero" in line or "aaa" in line)
    if bad[0] != "/":  # else the common folder is another one
        assert sorted(os.listdir("out/indexed")) == GOOD


def test_bad_lines_of_lists_fail_alone(folder):
    lines = [*(f"in/{name}" for name in GOOD), "in/a\0b.png", "zip://a.png", "/dev/stdin"]
    (folder / "list.txt").write_text("\n".join([*lines, ""]))
    summary = segment("@list.txt")
    assert (summary.done, summary.failed) == (5, 3)
    (folder / "zeros.txt").write_text("\0".join(f"in/{name}" for name in GOOD))
    assert len(find_images(["@zeros.txt"])) == 5


def test_half_a_character_in_utf_16_fails_alone(folder):
    text = "\n".join(["image", *GOOD, "\ud800.png"]).encode("utf-16", "surrogatepass")
    (folder / "in/m.csv").write_bytes(text)
    summary = segment("in/m.csv")
    assert (summary.done, summary.failed) == (5, 1)


def test_bad_rows_of_parquet_fail_alone(folder):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = arrow.table({"image": [*GOOD, None, "", "a\0b.png", "reference://x"]})
    parquet.write_table(table, folder / "in/m.parquet")
    summary = segment("in/m.parquet")
    assert (summary.done, summary.failed) == (5, 4)


def test_damaged_parquet_is_named(folder):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"image": ["0.png"]}), "in/m.parquet", compression="none")
    content = (folder / "in/m.parquet").read_bytes()
    damaged = [content.replace(b"0.png", b"0.p\xffg"), content.replace(b"image", b"i\xffage")]
    for each in (*damaged, content[:-20], content[:60] + bytes(40) + content[100:]):
        (folder / "in/m.parquet").write_bytes(each)
        with pytest.raises(DataError, match=r"m\.parquet: cannot be read as Parquet"):
            find_images(["in/m.parquet"])


def test_separators_of_unicode_in_names(folder):
    names = ["a\u2028b.png", "a\x85b.png", "a\x0bb.png", "a\nb.png", 'a"b.png']
    for name in names:
        Image.new("RGB", (9, 9)).save(folder / "in" / name)
    with open(folder / "in/m.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["image"], *([name] for name in names)])
    assert segment("in/m.csv").done == 5


@pytest.mark.parametrize("count", [1, 99, 100, 101, 250])
def test_csv_in_blocks(folder, count):
    rows = [["image", "text"], *([f"{i}.png", 'two\nlines "x"' * (i % 3)] for i in range(count))]
    with open(folder / "m.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    found = list(manifest_rows("m.csv"))
    assert [row.path for row in found] == [row[0] for row in rows[1:]]
    assert not any(row.problem for row in found)


def test_many_open_quotes_end_in_time(folder):
    (folder / "m.csv").write_text("image\n" + '"a.png\n' * 20_000)
    assert len(list(manifest_rows("m.csv"))) > 9_000


@pytest.fixture
def store():
    system = pytest.importorskip("fsspec").filesystem("memory")
    yield system
    if system.exists("/lists"):
        system.rm("/lists", recursive=True)


def test_a_list_at_an_address_names_no_files_of_this_machine(folder, store):
    store.pipe_file("/lists/a/0.png", (folder / "in/0.png").read_bytes())
    rows = ["0.png", "../b/1.png", "../../x/2.png", f"file://{folder}/in/3.png", "/etc/passwd"]
    store.pipe_file("/lists/a/m.csv", "\n".join(["image", *rows]).encode())
    files = find_images(["memory://lists/a/m.csv"])
    paths = [file.path for file in files if not file.problem]
    assert paths == [
        "memory://lists/a/0.png",
        "memory://lists/a/etc/passwd",
        "memory://lists/b/1.png",
    ]
    assert [file.relative for file in files if file.problem] == ["m.csv line 4", "m.csv line 5"]
    assert segment("memory://lists/a/m.csv").done == 1


def test_names_of_objects_lead_nowhere(folder, store):
    content = (folder / "in/0.png").read_bytes()
    names = ["x/../../../escaped.png", "a//b.png", "a/b.png", "c.png"]
    for name in names:
        store.store[f"/lists/in/{name}"] = store.store.get(name) or _memory_file(store, content)
    before = set(folder.rglob("*"))
    summary = segment("memory://lists/in")
    assert summary.done == summary.found == 3
    new = set(folder.rglob("*")) - before
    assert all(path.is_relative_to(folder / "out") for path in new)


def _memory_file(store, content):
    store.pipe_file("/lists/one", content)
    return store.store.pop("/lists/one")


class _Images(BaseHTTPRequestHandler):
    requested: list = []

    def do_GET(self):
        self.requested.append((self.path, self.headers.get("Authorization")))
        missing = "gone" in self.path
        self.send_response(404 if missing else 200)
        self.send_header("Content-Length", str(0 if missing else len(self.server.content)))
        self.send_header("ETag", '"1"')
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(b"" if missing else self.server.content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def web(folder, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "KERAS_PARTS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(_Images, "requested", [])
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Images)
    server.content = (folder / "in/0.png").read_bytes()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_images_of_the_web(folder, web, monkeypatch):
    rows = [
        f"http://{web}/a/b.png",
        f"http://{web}/a/img.php?f=../../../../escaped&x=1",
        f"http://{web}/a/img.php?f=2#../..",
        f"http://me:hunter2@{web}/c.png?token=hunter2",
        f"http://me:hunter2@{web}/gone.png?sig=hunter2",
        f"http://{web}/../../escaped.png",
        f"http://me:hunter2@{web}/%2e%2e/x.png",
    ]
    (folder / "m.csv").write_text("\n".join(["image", *rows]))
    failures, before = [], set(folder.rglob("*"))
    summary = segment(
        "m.csv", on_failure=failures.append, arguments={"paths": rows, "x": {"y": rows[3]}}
    )
    assert (summary.done, summary.failed) == (5, 2)
    paths = [path for path, _ in _Images.requested]
    assert "/a/img.php?f=../../../../escaped&x=1" in paths
    assert any(authorization for _, authorization in _Images.requested)
    new = set(folder.rglob("*")) - before
    assert all(path.is_relative_to(folder / "out") for path in new)
    written = b"".join(path.read_bytes() for path in new if path.is_file())
    assert b"hunter2" not in written and not any("hunter2" in str(path) for path in new)
    assert "hunter2" not in str(failures)
    requested = len(_Images.requested)
    assert segment("m.csv").kept == 5 and len(_Images.requested) >= requested


def test_images_of_the_web_are_limited(folder, web, monkeypatch):
    monkeypatch.setenv("KERAS_PARTS_IMAGE_MIB", "0.00001")
    (file,) = find_images([f"http://{web}/a.png"])
    with pytest.raises(DataError, match="more than the limit of 10 bytes"):
        file.read()


def test_rows_on_another_kind_of_storage_fail_alone(folder, web):
    good = [f"http://{web}/{number}.png" for number in range(3)]
    (folder / "l.txt").write_text("\n".join(["in/0.png", "s3://bucket/a.png", *good]))
    summary, failures = segment("@l.txt", formats=["csv"]), folder / "out/failures.jsonl"
    assert (summary.done, summary.failed) == (3, 2)
    assert failures.read_text().count("on another drive or kind of storage") == 2
    found = find_images(["in", "@l.txt"])  # an input that is no row decides
    assert sorted(file.relative for file in found if not file.problem) == GOOD
    with pytest.raises(DataError, match=f"kinds of storage .*{folder}/in and http://.*a run for"):
        find_images(["in", good[0]])


def test_bad_rows_of_lists_with_the_same_name(folder):
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "m.csv").write_text(f"image,x\n{folder}/in/0.png,1\n,2\n")
    names = [file.relative for file in find_images(["a/m.csv", "b/m.csv"]) if file.problem]
    assert names == ["m.csv line 3 of a/m.csv", "m.csv line 3 of b/m.csv"]


def test_an_output_without_a_name_is_refused(folder):
    for output in ("", "a\0b"):
        with pytest.raises(ConfigError, match="the output folder is"):
            segment("in", output)


def test_addresses_of_the_web_are_files_only(folder, web):
    (file,) = find_images([f"http://{web}/a/*.png?x=[1]"])
    assert file.path == f"http://{web}/a/*.png?x=[1]" and not _Images.requested
    with pytest.raises(ConfigError, match="cannot be written to an address of the web"):
        segment("in", f"http://{web}/out")


def test_outputs_at_other_protocols_are_refused(folder):
    for output in ("simplecache::s3://bucket/out", "zip://out", "ftp://host/out"):
        with pytest.raises(ConfigError, match="not opened"):
            segment("in", output)
    assert set(os.listdir()) == {"in"}


def test_files_given_as_addresses_are_local_files(folder):
    summary = segment(f"file://{folder}/in", f"file://{folder}/out")
    assert summary.done == 5
    segment("in", "again")
    assert contents(folder / "out") == contents(folder / "again")
    assert find_images([f"file://{folder}"], exclude=[f"file://{folder}"]) == []


def test_the_model_of_an_address_is_recorded_without_its_password(folder):
    segment("in", model="https://me:hunter2@host/zoo/cub")
    assert json.loads((folder / "out/run.json").read_text())["configuration"]["model"] == (
        "https://***@host/zoo/cub"
    )
    written = [path.read_bytes() for path in (folder / "out").rglob("*") if path.is_file()]
    assert b"hunter2" not in b"".join(written)


def test_a_closed_standard_input(folder, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(DataError, match="standard input is closed"):
        find_images(["-"])


def test_a_standard_input_that_is_open_for_writing(monkeypatch):
    with open(os.devnull, "wb") as file:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.FileIO(os.devnull))))
        os.dup2(file.fileno(), sys.stdin.fileno())
        with pytest.raises(DataError, match="-: standard input cannot be read: Bad file"):
            find_images(["-"])


def test_an_output_error_has_no_password(folder, monkeypatch):
    store = pytest.importorskip("fsspec").filesystem("memory")

    def refuse(path, *arguments, **options):
        raise PermissionError("https://me:hunter2@host refuses")

    monkeypatch.setattr(type(store), "pipe_file", refuse)
    with pytest.raises(KerasPartsError, match=r"https://\*\*\*@host refuses"):
        segment("in", "memory://lists/out")
